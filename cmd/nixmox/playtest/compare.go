package playtest

import (
	"fmt"
	"slices"
	"strings"

	"nixmox/engine/builtin"
)

// Compare says where a plan and a run differ in their calls: the place, the
// function and the arguments, up to where the plan ends. It is made of what
// was seen from outside, so it holds the engine to its word.
func Compare(plan, run *Observed) []string {
	made := map[builtin.Place]*Call{}
	for _, c := range run.Calls {
		made[c.Place] = c
	}
	var out []string
	planned := map[builtin.Place]bool{}
	for _, p := range plan.Calls {
		planned[p.Place] = true
		c, ok := made[p.Place]
		switch {
		case !ok:
			out = append(out, fmt.Sprintf("%s %s (%s) was planned and not made", p.Place, p.Name, p.At))
		case c.Name != p.Name:
			out = append(out, fmt.Sprintf("%s: planned %s (%s), made %s (%s)", p.Place, p.Name, p.At, c.Name, c.At))
		default:
			same := comparison{made}
			if d := same.differ(neutralOf(p.Args), neutralOf(c.Args), ""); d != "" {
				out = append(out, fmt.Sprintf("%s %s (%s)%s", p.Place, p.Name, p.At, d))
			}
		}
	}
	if plan.Report.PlanEnds != "" {
		return out
	}
	for _, c := range run.Calls {
		if !planned[c.Place] {
			out = append(out, fmt.Sprintf("%s %s (%s) was made and not planned", c.Place, c.Name, c.At))
		}
	}
	return out
}

func neutralOf(t builtin.Typed) any {
	if t.Type == nil || t.Value == nil {
		return nil
	}
	return t.Type.Neutral(t.Value)
}

type comparison struct {
	made map[builtin.Place]*Call
}

// differ says where two neutral values differ, "" if nowhere.
func (c comparison) differ(planned, made any, path string) string {
	switch p := planned.(type) {
	case builtin.Opaque:
		return c.comesFrom(p, made, path)
	case *builtin.Record:
		m, ok := made.(*builtin.Record)
		if !ok || !p.Type.Same(m.Type) {
			break
		}
		isPlanned := slices.ContainsFunc(p.Values, isOpaque)
		for i, f := range p.Type.Fields {
			if f.Volatile || f.VolatilePlanned && isPlanned {
				continue
			}
			if d := c.differ(p.Values[i], m.Values[i], path+"."+f.Name); d != "" {
				return d
			}
		}
		return ""
	case []any:
		m, ok := made.([]any)
		if !ok || len(p) != len(m) {
			break
		}
		for i := range p {
			if d := c.differ(p[i], m[i], fmt.Sprintf("%s[%d]", path, i)); d != "" {
				return d
			}
		}
		return ""
	case map[string]any:
		m, ok := made.(map[string]any)
		if !ok || len(p) != len(m) {
			break
		}
		for k := range p {
			if d := c.differ(p[k], m[k], path+"."+k); d != "" {
				return d
			}
		}
		return ""
	default:
		if goldenValue(planned) == goldenValue(made) {
			return ""
		}
	}
	return fmt.Sprintf("%s: planned %s, made %s", path, goldenValue(planned), goldenValue(made))
}

func isOpaque(v any) bool {
	_, ok := v.(builtin.Opaque)
	return ok
}

// comesFrom holds that the run has made the call that a value was to come
// from, and that it did come from there. What is in a record may have been
// read later from what that call made.
func (c comparison) comesFrom(o builtin.Opaque, made any, path string) string {
	source, ok := c.made[o.From]
	if !ok {
		return fmt.Sprintf("%s: planned to come from call %s, which was not made", path, o.From)
	}
	inRecord := strings.Count(path, ".") > 1
	if !inRecord && source.Result.Type != nil && !holds(neutralOf(source.Result), made) {
		return fmt.Sprintf("%s: %s did not come from call %s", path, goldenValue(made), o.From)
	}
	return ""
}

// holds reports whether a value is somewhere in another.
func holds(whole, part any) bool {
	switch w := whole.(type) {
	case *builtin.Record:
		return slices.ContainsFunc(w.Values, func(v any) bool { return holds(v, part) })
	case []any:
		return slices.ContainsFunc(w, func(v any) bool { return holds(v, part) })
	case map[string]any:
		for _, v := range w {
			if holds(v, part) {
				return true
			}
		}
		return false
	}
	return goldenValue(whole) == goldenValue(part)
}
