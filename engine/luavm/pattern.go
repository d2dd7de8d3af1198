package luavm

import (
	"errors"
)

// Lua's patterns, after lstrlib.c of Lua 5.1. The interpreter's own cannot be
// interrupted, and some patterns take longer than anybody waits: here each
// step counts.

const (
	maxCaptures  = 32
	maxMatchDeep = 200 // as LUAI_MAXCCALLS
)

type capture struct{ from, size int }

// What the size of a capture says when it is none.
const (
	unclosed = -1
	position = -2
)

// matcher is one match of a pattern at one place of a text.
type matcher struct {
	text, pattern string
	spend         func(steps int)
	level         int
	captures      [maxCaptures]capture
	deep          int
}

// patternError is a pattern that is none; it travels as a panic within a match.
type patternError struct{ error }

func bad(what string) { panic(patternError{errors.New(what)}) }

var errTooComplex = patternError{errors.New("pattern too complex")}

// find is the first match at or after init: where it begins and ends, and its
// captures in m; ok is false if there is none.
func (m *matcher) find(init int) (from, to int, ok bool, err error) {
	defer func() {
		if r := recover(); r != nil {
			p, isPattern := r.(patternError)
			if !isPattern {
				panic(r)
			}
			err = p.error
		}
	}()
	p, anchored := 0, len(m.pattern) > 0 && m.pattern[0] == '^'
	if anchored {
		p = 1
	}
	for from = init; from <= len(m.text); from++ {
		m.level, m.deep = 0, 0
		if to, ok = m.match(from, p); ok || anchored {
			return from, to, ok, nil
		}
	}
	return 0, 0, false, nil
}

// match matches the pattern from p on against the text from s on.
func (m *matcher) match(s, p int) (end int, ok bool) {
	if m.deep++; m.deep > maxMatchDeep {
		panic(errTooComplex)
	}
	defer func() { m.deep-- }()
	for {
		m.spend(1)
		if p == len(m.pattern) {
			return s, true
		}
		switch m.pattern[p] {
		case '(':
			if p+1 < len(m.pattern) && m.pattern[p+1] == ')' {
				return m.startCapture(s, p+2, position)
			}
			return m.startCapture(s, p+1, unclosed)
		case ')':
			return m.endCapture(s, p+1)
		case '%':
			if p+1 >= len(m.pattern) {
				break
			}
			switch c := m.pattern[p+1]; {
			case c == 'b':
				if s, ok = m.balance(s, p+2); !ok {
					return 0, false
				}
				p += 4
				continue
			case c == 'f':
				p += 2
				if p >= len(m.pattern) || m.pattern[p] != '[' {
					bad("missing '[' after '%f' in pattern")
				}
				end := m.classEnd(p)
				var before, after byte
				if s > 0 {
					before = m.text[s-1]
				}
				if s < len(m.text) {
					after = m.text[s]
				}
				if m.inSet(before, p, end-1) || !m.inSet(after, p, end-1) {
					return 0, false
				}
				p = end
				continue
			case c >= '0' && c <= '9':
				if s, ok = m.backReference(s, int(c-'1')); !ok {
					return 0, false
				}
				p += 2
				continue
			}
		case '$':
			if p+1 == len(m.pattern) {
				return s, s == len(m.text)
			}
		}
		end := m.classEnd(p)
		matches := s < len(m.text) && m.single(m.text[s], p, end)
		next := byte(0)
		if end < len(m.pattern) {
			next = m.pattern[end]
		}
		switch next {
		case '?':
			if matches {
				if e, ok := m.match(s+1, end+1); ok {
					return e, true
				}
			}
			p = end + 1
		case '*':
			return m.most(s, p, end)
		case '+':
			if !matches {
				return 0, false
			}
			return m.most(s+1, p, end)
		case '-':
			return m.least(s, p, end)
		default:
			if !matches {
				return 0, false
			}
			s, p = s+1, end
		}
	}
}

// most takes as many as there are, then fewer.
func (m *matcher) most(s, p, end int) (int, bool) {
	n := 0
	for s+n < len(m.text) && m.single(m.text[s+n], p, end) {
		m.spend(1)
		n++
	}
	for ; n >= 0; n-- {
		if e, ok := m.match(s+n, end+1); ok {
			return e, true
		}
	}
	return 0, false
}

// least takes as few as will do.
func (m *matcher) least(s, p, end int) (int, bool) {
	for {
		if e, ok := m.match(s, end+1); ok {
			return e, true
		}
		if s >= len(m.text) || !m.single(m.text[s], p, end) {
			return 0, false
		}
		s++
	}
}

func (m *matcher) startCapture(s, p, size int) (int, bool) {
	if m.level >= maxCaptures {
		bad("too many captures")
	}
	m.captures[m.level] = capture{s, size}
	m.level++
	e, ok := m.match(s, p)
	if !ok {
		m.level--
	}
	return e, ok
}

func (m *matcher) endCapture(s, p int) (int, bool) {
	i := m.level - 1
	for ; i >= 0 && m.captures[i].size != unclosed; i-- {
	}
	if i < 0 {
		bad("invalid pattern capture")
	}
	m.captures[i].size = s - m.captures[i].from
	e, ok := m.match(s, p)
	if !ok {
		m.captures[i].size = unclosed
	}
	return e, ok
}

func (m *matcher) balance(s, p int) (int, bool) {
	if p+1 >= len(m.pattern) {
		bad("unbalanced pattern")
	}
	if s >= len(m.text) || m.text[s] != m.pattern[p] {
		return 0, false
	}
	open, shut, depth := m.pattern[p], m.pattern[p+1], 1
	for s++; s < len(m.text); s++ {
		m.spend(1)
		switch m.text[s] {
		case shut:
			if depth--; depth == 0 {
				return s + 1, true
			}
		case open:
			depth++
		}
	}
	return 0, false
}

func (m *matcher) backReference(s, i int) (int, bool) {
	if i < 0 || i >= m.level || m.captures[i].size == unclosed {
		bad("invalid capture index")
	}
	c := m.captures[i]
	size := max(c.size, 0)
	m.spend(1 + size/8)
	if len(m.text)-s >= size && m.text[s:s+size] == m.text[c.from:c.from+size] {
		return s + size, true
	}
	return 0, false
}

// classEnd is where the single class that begins at p ends.
func (m *matcher) classEnd(p int) int {
	c := m.pattern[p]
	p++
	switch c {
	case '%':
		if p >= len(m.pattern) {
			bad("malformed pattern (ends with '%')")
		}
		return p + 1
	case '[':
		if p < len(m.pattern) && m.pattern[p] == '^' {
			p++
		}
		for first := true; first || p >= len(m.pattern) || m.pattern[p] != ']'; first = false {
			if p >= len(m.pattern) {
				bad("malformed pattern (missing ']')")
			}
			c := m.pattern[p]
			p++
			if c == '%' && p < len(m.pattern) {
				p++
			}
		}
		return p + 1
	}
	return p
}

func (m *matcher) single(c byte, p, end int) bool {
	switch m.pattern[p] {
	case '.':
		return true
	case '%':
		return inClass(c, m.pattern[p+1])
	case '[':
		return m.inSet(c, p, end-1)
	}
	return m.pattern[p] == c
}

// inSet looks in the set from the bracket at p to the one at end.
func (m *matcher) inSet(c byte, p, end int) bool {
	m.spend(1)
	found := true
	if p++; m.pattern[p] == '^' {
		found = false
		p++
	}
	for ; p < end; p++ {
		switch {
		case m.pattern[p] == '%':
			p++
			if inClass(c, m.pattern[p]) {
				return found
			}
		case p+2 < end && m.pattern[p+1] == '-':
			if m.pattern[p] <= c && c <= m.pattern[p+2] {
				return found
			}
			p += 2
		case m.pattern[p] == c:
			return found
		}
	}
	return !found
}

func inClass(c, class byte) bool {
	between := func(from, to byte) bool { return from <= c && c <= to }
	lower := class | 0x20
	var is bool
	switch lower {
	case 'a':
		is = between('a', 'z') || between('A', 'Z')
	case 'c':
		is = c < ' ' || c == 0x7f
	case 'd':
		is = between('0', '9')
	case 'l':
		is = between('a', 'z')
	case 'p':
		is = between('!', '/') || between(':', '@') || between('[', '`') || between('{', '~')
	case 's':
		is = c == ' ' || between('\t', '\r')
	case 'u':
		is = between('A', 'Z')
	case 'w':
		is = between('a', 'z') || between('A', 'Z') || between('0', '9')
	case 'x':
		is = between('0', '9') || between('a', 'f') || between('A', 'F')
	case 'z':
		is = c == 0
	default:
		return class == c
	}
	if class < 'a' { // %A is all that %a is not
		return !is
	}
	return is
}
