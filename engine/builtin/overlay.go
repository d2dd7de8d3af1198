package builtin

import "sync"

// Overlay is the world as a plan's changes would have left it, over the real
// one. Previews write to it, the module's later reads answer through it.
// Each module keeps its own kind of entries under its own key.
type Overlay struct {
	mu      sync.Mutex
	entries map[string][]any
	assumed []string
}

// Add notes one planned thing.
func (o *Overlay) Add(key string, entry any) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.entries == nil {
		o.entries = map[string][]any{}
	}
	o.entries[key] = append(o.entries[key], entry)
}

// Entries are the planned things of a key, in the order they were planned.
// A nil overlay (a real run) has none.
func (o *Overlay) Entries(key string) []any {
	if o == nil {
		return nil
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	return append([]any(nil), o.entries[key]...)
}

// Count is how many planned things a key has.
func (o *Overlay) Count(key string) int {
	if o == nil {
		return 0
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.entries[key])
}

// At is one planned thing of a key, by its number from 0; nil if there is none.
func (o *Overlay) At(key string, i int) any {
	if o == nil {
		return nil
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if i < 0 || i >= len(o.entries[key]) {
		return nil
	}
	return o.entries[key][i]
}

// Assume notes something the plan takes for granted because it cannot look.
func (o *Overlay) Assume(what string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.assumed = append(o.assumed, what)
}

// Assumed is what was taken for granted, in order.
func (o *Overlay) Assumed() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return append([]string(nil), o.assumed...)
}
