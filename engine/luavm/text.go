package luavm

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	lua "github.com/yuin/gopher-lua"
)

// maxText is the length in bytes above which no function makes a text.
const maxText = 64 << 20

// text is an argument that must be a text or a number.
func text(l *lua.LState, i int) string {
	endPlan(l, "is needed as text")
	return l.CheckString(i)
}

// grow holds that a text to be made is not too long, and counts making it.
func grow(l *lua.LState, size int) {
	if size > maxText {
		l.RaiseError("the text would be longer than %d MiB", maxText>>20)
	}
	strandOf(l).spend(l, size/64)
}

var stringFuncs = map[string]lua.LGFunction{
	"byte": func(l *lua.LState) int {
		s := text(l, 1)
		i := l.OptInt(2, 1)
		from, to := span(len(s), i, l.OptInt(3, i))
		if to-from >= 8000 {
			l.RaiseError("string slice too long")
		}
		for _, c := range []byte(s[from:to]) {
			l.Push(lua.LNumber(c))
		}
		return to - from
	},
	"char": func(l *lua.LState) int {
		b := make([]byte, l.GetTop())
		for i := range b {
			n := l.CheckInt(i + 1)
			if n < 0 || n > 255 {
				l.ArgError(i+1, "invalid value")
			}
			b[i] = byte(n)
		}
		l.Push(lua.LString(b))
		return 1
	},
	"find":   func(l *lua.LState) int { return find(l, true) },
	"format": format,
	"gmatch": gmatch,
	"gsub":   gsub,
	"len":    func(l *lua.LState) int { l.Push(lua.LNumber(len(text(l, 1)))); return 1 },
	"lower":  func(l *lua.LState) int { l.Push(lua.LString(mapped(l, strings.ToLower))); return 1 },
	"match":  func(l *lua.LState) int { return find(l, false) },
	"rep": func(l *lua.LState) int {
		s, n := text(l, 1), l.CheckInt(2)
		if n <= 0 || s == "" {
			l.Push(lua.LString(""))
			return 1
		}
		if n > maxText {
			n = maxText + 1
		}
		grow(l, len(s)*n)
		l.Push(lua.LString(strings.Repeat(s, n)))
		return 1
	},
	"reverse": func(l *lua.LState) int {
		s := text(l, 1)
		grow(l, len(s))
		b := make([]byte, len(s))
		for i := range b {
			b[i] = s[len(s)-1-i]
		}
		l.Push(lua.LString(b))
		return 1
	},
	"sub": func(l *lua.LState) int {
		s := text(l, 1)
		from, to := span(len(s), l.CheckInt(2), l.OptInt(3, -1))
		l.Push(lua.LString(s[from:to]))
		return 1
	},
	"upper": func(l *lua.LState) int { l.Push(lua.LString(mapped(l, strings.ToUpper))); return 1 },
}

// mapped changes the letters of ASCII, as Lua does in its own locale.
func mapped(l *lua.LState, do func(string) string) string {
	s := text(l, 1)
	grow(l, len(s))
	return strings.Map(func(r rune) rune {
		if r < 0x80 {
			return rune(do(string(r))[0])
		}
		return r
	}, s)
}

// span turns the first and last position of Lua, from 1 or from the end, into
// those of a slice.
func span(size, i, j int) (from, to int) {
	if i < 0 {
		i = max(size+i+1, 1)
	}
	if j < 0 {
		j = size + j + 1
	}
	from, to = max(i, 1)-1, min(j, size)
	if from >= to {
		return 0, 0
	}
	return from, to
}

// find is string.find and string.match.
func find(l *lua.LState, positions bool) int {
	s, p := text(l, 1), text(l, 2)
	init := l.OptInt(3, 1)
	if init < 0 {
		init = max(len(s)+init+1, 1)
	}
	init = min(max(init, 1)-1, len(s))
	if positions && (l.ToBool(4) || !strings.ContainsAny(p, "^$*+?.([%-")) {
		grow(l, len(s)-init)
		i := strings.Index(s[init:], p)
		if i < 0 {
			l.Push(lua.LNil)
			return 1
		}
		l.Push(lua.LNumber(init + i + 1))
		l.Push(lua.LNumber(init + i + len(p)))
		return 2
	}
	m := newMatcher(l, s, p)
	from, to, ok, err := m.find(init)
	if err != nil {
		l.RaiseError("%v", err)
	}
	if !ok {
		l.Push(lua.LNil)
		return 1
	}
	if positions {
		l.Push(lua.LNumber(from + 1))
		l.Push(lua.LNumber(to))
		for i := range m.level {
			l.Push(m.captured(l, i, from, to))
		}
		return 2 + m.level
	}
	return m.push(l, from, to)
}

func newMatcher(l *lua.LState, s, p string) *matcher {
	strand := strandOf(l)
	return &matcher{text: s, pattern: p, spend: func(n int) { strand.spend(l, n) }}
}

// captured is a capture; the whole match stands for the first if there is none.
func (m *matcher) captured(l *lua.LState, i, from, to int) lua.LValue {
	if i >= m.level {
		if i != 0 {
			l.RaiseError("invalid capture index")
		}
		return lua.LString(m.text[from:to])
	}
	c := m.captures[i]
	switch c.size {
	case position:
		return lua.LNumber(c.from + 1)
	case unclosed:
		l.RaiseError("unfinished capture")
	}
	return lua.LString(m.text[c.from : c.from+c.size])
}

func (m *matcher) push(l *lua.LState, from, to int) int {
	n := max(m.level, 1)
	for i := range n {
		l.Push(m.captured(l, i, from, to))
	}
	return n
}

func gmatch(l *lua.LState) int {
	s, p := text(l, 1), text(l, 2)
	at := 0
	iterator := function(func(l *lua.LState) int {
		if at > len(s) {
			l.Push(lua.LNil)
			return 1
		}
		m := newMatcher(l, s, p)
		if strings.HasPrefix(p, "^") { // here it is a character, as in Lua 5.1
			m.pattern = "%" + p
		}
		from, to, ok, err := m.find(at)
		if err != nil {
			l.RaiseError("%v", err)
		}
		if !ok {
			at = len(s) + 1
			l.Push(lua.LNil)
			return 1
		}
		if at = to; to == from {
			at++
		}
		return m.push(l, from, to)
	})
	iterator.Upvalues = []*lua.Upvalue{{}} // it has a state: see freezer.function
	l.Push(iterator)
	return 1
}

func gsub(l *lua.LState) int {
	s, p := text(l, 1), text(l, 2)
	by := l.Get(3)
	switch by := by.(type) {
	case lua.LString, *lua.LTable, *lua.LFunction:
	case lua.LNumber:
		l.Replace(3, lua.LString(by.String()))
	case *lua.LUserData:
		if _, ok := by.Value.(*object); !ok {
			l.ArgError(3, "string, function or table expected")
		}
	default:
		l.ArgError(3, "string, function or table expected")
	}
	by = l.Get(3)
	limit := l.OptInt(4, len(s)+1)
	var out strings.Builder
	n, at := 0, 0
	for n < limit {
		m := newMatcher(l, s, p)
		from, to, ok, err := m.find(at)
		if err != nil {
			l.RaiseError("%v", err)
		}
		if !ok {
			break
		}
		n++
		out.WriteString(s[at:from])
		out.WriteString(m.replacement(l, by, from, to))
		grow(l, out.Len())
		at = to
		if from == to {
			if at < len(s) {
				out.WriteByte(s[at])
			}
			at++
		}
		if at > len(s) || strings.HasPrefix(p, "^") {
			break
		}
	}
	if at < len(s) {
		out.WriteString(s[at:])
	}
	l.Push(lua.LString(out.String()))
	l.Push(lua.LNumber(n))
	return 2
}

func (m *matcher) replacement(l *lua.LState, by lua.LValue, from, to int) string {
	whole := m.text[from:to]
	var v lua.LValue
	switch by := by.(type) {
	case lua.LString:
		return m.expand(l, string(by), from, to)
	case *lua.LFunction:
		l.Push(by)
		n := m.push(l, from, to)
		l.Call(n, 1)
		v = l.Get(-1)
		l.Pop(1)
	default:
		v = l.GetTable(by, m.captured(l, 0, from, to))
	}
	switch {
	case !lua.LVAsBool(v):
		return whole
	case !lua.LVCanConvToString(v):
		l.RaiseError("invalid replacement value (a %s)", typeName(v))
	}
	return v.String()
}

// expand puts captures in place of %1 and the like.
func (m *matcher) expand(l *lua.LState, by string, from, to int) string {
	if !strings.Contains(by, "%") {
		return by
	}
	var out strings.Builder
	for i := 0; i < len(by); i++ {
		if by[i] != '%' || i+1 == len(by) {
			out.WriteByte(by[i])
			continue
		}
		i++
		switch c := by[i]; {
		case c == '0':
			out.WriteString(m.text[from:to])
		case c >= '1' && c <= '9':
			out.WriteString(m.captured(l, int(c-'1'), from, to).String())
		default:
			out.WriteByte(c)
		}
	}
	return out.String()
}

// format is string.format, of Lua's own verbs only.
func format(l *lua.LState) int {
	f := text1(l)
	var out strings.Builder
	arg := 1
	for i := 0; i < len(f); i++ {
		if f[i] != '%' {
			out.WriteByte(f[i])
			continue
		}
		if i++; i < len(f) && f[i] == '%' {
			out.WriteByte('%')
			continue
		}
		from := i
		for i < len(f) && strings.IndexByte("-+ #0", f[i]) >= 0 && i-from < 5 {
			i++
		}
		digits := i
		for i < len(f) && f[i] >= '0' && f[i] <= '9' {
			i++
		}
		point := i
		if i < len(f) && f[i] == '.' {
			for i++; i < len(f) && f[i] >= '0' && f[i] <= '9'; i++ {
			}
		}
		if point-digits > 2 || i-point > 3 {
			l.RaiseError("invalid format (width or precision too long)")
		}
		if i >= len(f) {
			l.RaiseError("invalid option '%%' to 'format'")
		}
		arg++
		if arg > l.GetTop() {
			l.ArgError(arg, "no value")
		}
		out.WriteString(formatted(l, f[from:i], f[i], arg))
		grow(l, out.Len())
	}
	l.Push(lua.LString(out.String()))
	return 1
}

// text1 is the first argument: of the others, those that are not known yet
// may be shown.
func text1(l *lua.LState) string { return l.CheckString(1) }

func formatted(l *lua.LState, spec string, verb byte, arg int) string {
	switch verb {
	case 's':
		return fmt.Sprintf("%"+strings.Map(dropped("+ #0"), spec)+"s", show(l.Get(arg)))
	case 'q':
		return luaQuoted(text(l, arg))
	case 'c':
		return string([]byte{byte(l.CheckInt(arg))})
	}
	endPlan(l, "is counted with")
	if u, ok := l.Get(arg).(*lua.LUserData); ok && strings.IndexByte("diuxXo", verb) >= 0 {
		if verb == 'i' || verb == 'u' {
			verb = 'd'
		}
		if typeName(u) == "integer" {
			return fmt.Sprintf("%"+spec+string(verb), u.Value)
		}
	}
	n := float64(l.CheckNumber(arg))
	switch verb {
	case 'd', 'i', 'u', 'x', 'X', 'o':
		if verb == 'i' || verb == 'u' {
			verb = 'd'
		}
		if math.IsNaN(n) || math.Abs(n) >= 1<<63 {
			l.ArgError(arg, "number has no integer representation")
		}
		return fmt.Sprintf("%"+spec+string(verb), int64(n))
	case 'e', 'E', 'f', 'g', 'G':
		return fmt.Sprintf("%"+spec+string(verb), n)
	}
	l.RaiseError("invalid option '%%%c' to 'format'", verb)
	return ""
}

func dropped(set string) func(rune) rune {
	return func(r rune) rune {
		if strings.ContainsRune(set, r) {
			return -1
		}
		return r
	}
}

// luaQuoted writes a text so that Lua reads it back.
func luaQuoted(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for i := range len(s) {
		switch c := s[i]; c {
		case '"', '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		case '\n':
			b.WriteString("\\n")
		case '\r':
			b.WriteString("\\r")
		case 0:
			b.WriteString("\\" + strconv.Itoa(0))
		default:
			b.WriteByte(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}
