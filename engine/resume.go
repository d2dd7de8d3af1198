package engine

import (
	"context"
	"encoding/json"
	"errors"
	"path"
	"time"

	"nixmox/engine/builtin"
	"nixmox/engine/journal"
	"nixmox/engine/source"
)

// ResumeOptions say how a run is taken up again.
type ResumeOptions struct {
	// Current, if not nil, are the roots to read the playbook from anew, in
	// place of the run's own record of it. Divergence still guards.
	Current *source.Roots
	// Cancel replays the run to its last recorded call, aborts it there and
	// runs its defers.
	Cancel bool
	// Settled are the operator's answers for changes that nobody can settle:
	// "done" or "undone".
	Settled map[builtin.Place]string
	Timeout time.Duration // 0 for none
}

// Resume takes up a run whose record j is, and closes the record.
func (e *Engine) Resume(ctx context.Context, j *journal.Run, o ResumeOptions) (Report, error) {
	info := j.Info()
	roots := source.Stored(filesOf(info.Sources))
	if o.Current != nil {
		roots = *o.Current
	}
	p, err := e.Load(ctx, roots, info.File)
	if err != nil {
		return Report{}, errors.Join(err, j.Close())
	}
	params, err := DecodeParams(p.Params, info.Params)
	if err != nil {
		return Report{}, errors.Join(err, j.Close())
	}
	options := Options{Params: params, Timeout: o.Timeout}
	r := e.newRun(p, info.ID, options)
	r.resumed, r.cancelling, r.settled = true, o.Cancel, o.Settled
	r.journal = func() (*journal.Run, error) { return j, nil }
	if err := j.SetState(journal.Running, 0, "", e.Clock.Now()); err != nil {
		return Report{}, errors.Join(err, j.Close())
	}
	return r.execute(ctx, options), nil
}

func filesOf(sources []journal.Source) []*source.File {
	files := make([]*source.File, len(sources))
	for i, s := range sources {
		files[i] = &source.File{Name: s.Name, Shown: s.Shown, Text: s.Text, Digest: s.Digest}
	}
	return files
}

// beginRecord writes down the run, with all that is needed to take it up again.
func (r *run) beginRecord(o Options) (*journal.Run, error) {
	db, err := r.engine.Journal()
	if err != nil {
		return nil, err
	}
	params, err := encodeParams(r.playbook.Params, o.Params)
	if err != nil {
		return nil, err
	}
	graph := r.playbook.Graph
	n := journal.NewRun{ID: r.builtin.ID, Playbook: r.playbook.Name, File: graph.Main.Name, Version: r.engine.Version,
		Began: r.began, Params: params, Options: o.Kept, Digest: graph.Digest}
	for _, f := range graph.Files {
		n.Sources = append(n.Sources, journal.Source{Name: f.Name, Shown: f.Shown, Text: f.Text, Digest: f.Digest})
	}
	return db.Begin(n)
}

// closeRecord writes how the run ended and gives its ownership up. Where that
// cannot be written, the run did not end well, whatever the playbook did.
func (r *run) closeRecord(report *Report) {
	if r.journal == nil {
		return
	}
	j, err := r.journal()
	if err == nil {
		report.Resumable = report.End == Suspended
		text := ""
		if report.Err != nil {
			text = report.Err.Error()
		}
		now := r.engine.Clock.Now()
		if report.End == Suspended {
			state := journal.Suspended
			if stop, ok := errors.AsType[*builtin.Stop](report.Err); ok && stop.Kind == builtin.InDoubt {
				state = journal.InDoubt
			}
			err = j.SetState(state, report.Exit, text, now)
		} else {
			err = j.Finish(journal.State(report.End), report.Exit, text, now)
		}
		err = errors.Join(err, j.Close())
	}
	if err != nil && report.Err != nil {
		// The run has failed already, and its exit code says so.
		r.log(builtin.Call{}, "error", "the journal cannot record the end of the run: "+err.Error())
		return
	}
	if err != nil {
		stop := builtin.Stopf(builtin.Unwritten, "the journal cannot record the end of the run: %v", err)
		stop.Hint = "what the run did is done; put the state folder right"
		report.Err, report.End, report.Exit = stop, Suspended, ExitCode(stop)
	}
}

func encodeParams(params []builtin.Param, values map[string]any) (json.RawMessage, error) {
	out := map[string]json.RawMessage{}
	for i := range params {
		text, err := params[i].Encode(values[params[i].Name])
		if err != nil {
			return nil, err
		}
		out[params[i].Name] = text
	}
	return json.Marshal(out)
}

// DecodeParams reads the parameters of a record or a plan. It gives
// a parameter that the record does not know, because the
// playbook has got it since, its default.
func DecodeParams(params []builtin.Param, text json.RawMessage) (map[string]any, error) {
	var in map[string]json.RawMessage
	if err := json.Unmarshal(text, &in); err != nil {
		return nil, err
	}
	out := map[string]any{}
	for i := range params {
		p := &params[i]
		raw, ok := in[p.Name]
		if !ok {
			out[p.Name] = p.Default
			continue
		}
		v, err := p.Decode(raw)
		if err != nil {
			return nil, err
		}
		out[p.Name] = v
	}
	return out, nil
}

// CurrentFile is where the playbook of a run stood when it began.
func CurrentFile(info journal.NewRun) string {
	for _, s := range info.Sources {
		if s.Name == info.File {
			return s.Shown
		}
	}
	return path.Clean(info.File)
}
