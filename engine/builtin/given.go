package builtin

import (
	"fmt"
	"reflect"
)

// Given is an argument of a call as the text of a playbook has it.
type Given struct {
	Name  string // "" for one by position
	Known bool   // Value is what it will be
	Value any    // neutral
}

// Misfits finds what Bind would refuse whatever the values are that are not
// known yet. more says that arguments come of which nothing is known. wrong is
// told which of the given ones is meant, or -1 for the call, and why.
func (f *Func) Misfits(given []Given, more bool, wrong func(i int, why string)) {
	fields := f.Args.Fields
	taken := make([]bool, len(fields))
	scratch := reflect.New(f.Args.goType).Elem()
	byPosition := 0
	for _, g := range given {
		if g.Name == "" {
			byPosition++
		}
	}
	position := 0
	for i, g := range given {
		at := f.Args.fieldIndex(g.Name)
		if g.Name == "" {
			at = position
			position++
		}
		switch {
		case at >= len(fields):
			if position == len(fields)+1 {
				wrong(i, fmt.Sprintf("takes %d arguments, got %d", len(fields), byPosition))
			}
			continue
		case at < 0:
			rest := f.Args.restIndex()
			if rest < 0 {
				wrong(i, fmt.Sprintf("has no argument %q", g.Name))
				continue
			}
			taken[rest] = true
			if e := fields[rest].Type.Elem; g.Known && e.Kind != KindValue {
				if _, err := e.Convert(g.Value); err != nil {
					wrong(i, g.Name+": "+err.Error())
				}
			}
			continue
		case taken[at] && !fields[at].Rest:
			wrong(i, fmt.Sprintf("got %s twice", fields[at].Name))
			continue
		}
		taken[at] = true
		if g.Known && fields[at].Type.Kind != KindValue {
			if err := fields[at].set(scratch, g.Value, true); err != nil {
				wrong(i, err.Error())
			}
		}
	}
	for i := range fields {
		if !taken[i] && !more && !fields[i].HasDefault {
			wrong(-1, fields[i].Name+" is missing")
		}
	}
}
