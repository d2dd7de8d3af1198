package engine

import (
	"nixmox/engine/builtin"
	"nixmox/engine/policy"
)

// Function is a built-in that a playbook uses, with the needs that cover it.
type Function struct {
	*builtin.Func
	Needs []policy.Need
	At    builtin.Position // of its first use
}

// Functions are the built-ins that the files of a loaded playbook name and its
// needs cover, each once. What is pure, or always at hand, is not among them.
func (e *Engine) Functions(p *Playbook) []Function {
	var out []Function
	seen := map[string]bool{}
	for _, use := range p.Uses() {
		for _, m := range e.Modules {
			f, ok := m.Func(use.Name)
			if m.Name != use.Module || !ok || seen[f.QualifiedName()] {
				continue
			}
			seen[f.QualifiedName()] = true
			if needs := policy.Covering(p.Needs, f); needs != nil {
				out = append(out, Function{Func: f, Needs: needs, At: use.At})
			}
		}
	}
	return out
}
