package pvetest

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// API is one version's schema.
type API struct {
	version string
	methods []*Method
}

// Method is what the schema says of one method of one path.
type Method struct {
	Verb    string
	Pattern string // /nodes/{node}/qemu
	parts   []string
	Params  map[string]*Property
	Returns *Property
	// Permissions is the schema's word as it stands: {"user":"all"}, or
	// {"check":["perm","/vms/{vmid}",["VM.Audit"]]}.
	Permissions json.RawMessage
}

type node struct {
	Path     string `json:"path"`
	Children []node `json:"children"`
	Info     map[string]struct {
		Parameters struct {
			Properties map[string]*Property `json:"properties"`
		} `json:"parameters"`
		Returns     *Property       `json:"returns"`
		Permissions json.RawMessage `json:"permissions"`
	} `json:"info"`
}

func (a *API) add(nodes []node) {
	for _, n := range nodes {
		for _, verb := range slices.Sorted(maps.Keys(n.Info)) {
			i := n.Info[verb]
			a.methods = append(a.methods, &Method{Verb: verb, Pattern: n.Path, parts: split(n.Path), Params: i.Parameters.Properties, Returns: i.Returns, Permissions: i.Permissions})
		}
		a.add(n.Children)
	}
}

// Methods gives all methods of the API.
func (a *API) Methods() []*Method { return slices.Clone(a.methods) }

// Method finds the method for a real path, and the values of the path's
// variables. Fixed parts go before variables.
func (a *API) Method(verb, path string) (*Method, map[string]string, error) {
	path = strings.TrimPrefix(path, "/api2/json")
	path, _, _ = strings.Cut(path, "?")
	got := split(path)
	var best *Method
	var bestVars map[string]string
	there := false
	for _, m := range a.methods {
		vars, ok := match(m.parts, got)
		if !ok {
			continue
		}
		there = true
		if m.Verb == verb && (best == nil || len(vars) < len(bestVars)) {
			best, bestVars = m, vars
		}
	}
	switch {
	case best != nil:
		return best, bestVars, nil
	case there:
		return nil, nil, fmt.Errorf("%s %s: Proxmox VE %s has the path, but not the method", verb, path, a.version)
	}
	return nil, nil, fmt.Errorf("%s %s: Proxmox VE %s has no such path", verb, path, a.version)
}

func split(path string) []string { return strings.Split(strings.Trim(path, "/"), "/") }

// match compares a path with a pattern. A volume is the only variable that
// holds slashes.
func match(want, got []string) (map[string]string, bool) {
	var vars map[string]string
	for i, w := range want {
		if i >= len(got) || got[i] == "" {
			return nil, false
		}
		if !strings.HasPrefix(w, "{") {
			if w != got[i] {
				return nil, false
			}
			continue
		}
		if vars == nil {
			vars = map[string]string{}
		}
		name := strings.Trim(w, "{}")
		if name == "volume" && i == len(want)-1 {
			vars[name] = strings.Join(got[i:], "/")
			return vars, true
		}
		vars[name] = got[i]
	}
	return vars, len(want) == len(got)
}

// CheckRequest says what is wrong with a request: an unknown path or method,
// and parameters that are unknown, missing or not as the schema wants them.
// The path may have a query, whose parameters count too.
func (a *API) CheckRequest(method, path string, params map[string][]string) error {
	m, vars, err := a.Method(method, path)
	if err != nil {
		return err
	}
	all, err := withQuery(path, params)
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	for k, v := range vars {
		all[k] = []string{v}
	}
	var errs []error
	bad := func(name, format string, a ...any) {
		errs = append(errs, fmt.Errorf("%s %s: parameter %q: %s", method, m.Pattern, name, fmt.Sprintf(format, a...)))
	}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		p := m.Params[name]
		if p == nil {
			if !isIndexed(m.Params, name) {
				bad(name, "the schema does not know it")
			}
			continue
		}
		if wrong := p.checkParam(all[name]); wrong != "" {
			bad(name, "%s", wrong)
		}
		if p.Requires != "" && all[p.Requires] == nil {
			bad(name, "it requires %q, which is missing", p.Requires)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(m.Params)) {
		if all[name] == nil && !bool(m.Params[name].Optional) {
			bad(name, "it is missing and not optional")
		}
	}
	return errors.Join(errs...)
}

// isIndexed knows net[n] by net0.
func isIndexed(params map[string]*Property, name string) bool {
	base := strings.TrimRight(name, "0123456789")
	return base != name && params[base+"[n]"] != nil
}

// CheckAnswer says what is wrong with the data of a good answer: its decoded
// JSON, or the JSON itself as []byte or json.RawMessage.
func (a *API) CheckAnswer(method, path string, data any) error {
	m, _, err := a.Method(method, path)
	if err != nil {
		return err
	}
	if raw, ok := data.(json.RawMessage); ok {
		data = []byte(raw)
	}
	if raw, ok := data.([]byte); ok {
		if data, err = decode(raw); err != nil {
			return fmt.Errorf("%s %s: the answer is no JSON: %w", method, path, err)
		}
	}
	var errs []error
	m.Returns.check("data", data, func(where, wrong string) {
		errs = append(errs, fmt.Errorf("%s %s: answer: %s: %s", method, m.Pattern, where, wrong))
	})
	return errors.Join(errs...)
}
