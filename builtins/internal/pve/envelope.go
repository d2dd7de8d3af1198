package pve

import "bytes"

// dataOf finds the data in an answer, {"data": …} with other members beside it.
// It refuses an empty body, a proxy's HTML, JSON that ends too early. Inside
// the members it only tells where each ends: whether the data are sound JSON
// shows when they are decoded, and the others are not read.
//
// It looks at each byte once and copies none, since lists have megabytes.
func dataOf(body []byte) (data []byte, ok bool) {
	rest, ok := punctuation(body, '{')
	if !ok {
		return nil, false
	}
	for {
		name, after, ok := member(rest)
		if !ok {
			return nil, false
		}
		if rest, ok = punctuation(after, ':'); !ok {
			return nil, false
		}
		value, after, ok := member(rest)
		if !ok {
			return nil, false
		}
		if string(name) == `"data"` {
			data = value
		}
		if rest, ok = punctuation(after, ','); ok {
			continue
		}
		rest, ok = punctuation(after, '}')
		return data, ok && data != nil && len(skipSpace(rest)) == 0
	}
}

// skipSpace cuts off JSON's white space. (bytes.TrimLeft makes a set of the
// signs each time, which took a third of the whole.)
func skipSpace(text []byte) []byte {
	for i, sign := range text {
		if sign != ' ' && sign != '\n' && sign != '\t' && sign != '\r' {
			return text[i:]
		}
	}
	return nil
}

// punctuation takes one sign, and the white space before it.
func punctuation(text []byte, sign byte) (rest []byte, ok bool) {
	text = skipSpace(text)
	if len(text) == 0 || text[0] != sign {
		return text, false
	}
	return text[1:], true
}

// member takes a name or a value, up to the sign after it.
func member(text []byte) (whole, rest []byte, ok bool) {
	text = skipSpace(text)
	depth := 0
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '"':
			end := stringEnd(text[i+1:])
			if end < 0 {
				return nil, nil, false
			}
			i += 1 + end
		case '{', '[':
			depth++
		case '}', ']', ',', ':':
			if depth == 0 {
				end := i
				for end > 0 && len(skipSpace(text[end-1:end])) == 0 {
					end--
				}
				return text[:end], text[i:], end > 0
			}
			if text[i] == '}' || text[i] == ']' {
				depth--
			}
		}
	}
	return nil, nil, false
}

// stringEnd is where the quote is that ends a string, -1 without one.
func stringEnd(text []byte) int {
	for i := 0; ; i++ {
		n := bytes.IndexByte(text[i:], '"')
		if n < 0 {
			return -1
		}
		i += n
		slashes := 0
		for slashes < i && text[i-1-slashes] == '\\' {
			slashes++
		}
		if slashes%2 == 0 {
			return i
		}
	}
}
