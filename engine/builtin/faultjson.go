package builtin

import (
	"encoding/json"
	"errors"
)

// faultForm is a fault as the journal and the call protocol have it: kind and
// all, so that a playbook takes the same way again.
type faultForm struct {
	Kind    Kind            `json:"kind"`
	What    string          `json:"what"`
	Said    string          `json:"said,omitempty"`
	Hint    string          `json:"hint,omitempty"`
	Partial json.RawMessage `json:"partial,omitempty"`
	Stack   []Position      `json:"stack,omitempty"`
}

// EncodeFault puts a fault of the function into the form that DecodeFault
// reads. Its Cause stays behind. A nil function is that of a fault that is no
// call's: it has no partial result.
func (f *Func) EncodeFault(fault *Fault) (json.RawMessage, error) {
	if fault == nil {
		return nil, errors.New("an error that is no fault")
	}
	out := faultForm{Kind: fault.Kind, What: fault.What, Said: fault.Said, Hint: fault.Hint, Stack: fault.Stack}
	if fault.Partial != nil && f != nil {
		partial, err := Typed{Type: f.Result, Value: fault.Partial}.MarshalJSON()
		if err != nil {
			return nil, err
		}
		out.Partial = partial
	}
	return json.Marshal(out)
}

// DecodeFault makes a fault of what EncodeFault wrote.
func (f *Func) DecodeFault(text []byte) (*Fault, error) {
	var in faultForm
	if err := json.Unmarshal(text, &in); err != nil {
		return nil, err
	}
	out := &Fault{Kind: in.Kind, What: in.What, Said: in.Said, Hint: in.Hint, Stack: in.Stack}
	if in.Partial != nil && f != nil {
		partial, err := f.Result.Decode(in.Partial)
		if err != nil {
			return nil, err
		}
		out.Partial = partial
	}
	return out, nil
}
