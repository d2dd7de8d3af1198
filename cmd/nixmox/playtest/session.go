package playtest

import (
	"context"

	"nixmox/engine/builtin"
	"nixmox/engine/source"
)

// session is one test while it runs: what its calls of modules work on.
type session struct {
	world  *World
	roots  source.Roots // of the folder of the test's file
	dir    string
	update bool
	log    []Line
}

type sessionKey struct{}

// sessionFrom is the test that makes a call. While a file loads there is none.
func sessionFrom(ctx context.Context) (*session, error) {
	if s, ok := ctx.Value(sessionKey{}).(*session); ok {
		return s, nil
	}
	return nil, builtin.Faultf(builtin.Invalid, "%s", builtin.CallFrom(ctx).Func.QualifiedName()).
		Saying("may only be called from a test").Hinting("call it in a function test_*")
}

// bind makes what a function of a session does of a method.
func bind[A, R any](do func(*session, context.Context, A) (R, error)) func(context.Context, A) (R, error) {
	return func(ctx context.Context, a A) (R, error) {
		s, err := sessionFrom(ctx)
		if err != nil {
			var none R
			return none, err
		}
		return do(s, ctx, a)
	}
}

// newRead and newChange define functions of tests.
func newRead[A, R any](name, doc, example string, do func(*session, context.Context, A) (R, error)) builtin.Func {
	return builtin.NewRead(name, doc, bind(do)).With(builtin.Reference{Example: example})
}

// newChange: a change of a lab that lives as long as its test is neither
// planned nor resumed.
func newChange[A, R any](name, doc, example string, do func(*session, context.Context, A) (R, error)) builtin.Func {
	return builtin.NewChange(name, doc, builtin.Op[A, R]{
		Do: bind(do),
		Preview: func(context.Context, A) (R, error) {
			var none R
			return none, builtin.Faultf(builtin.Invalid, "a test cannot be planned")
		},
		NoSettle: "a test is not resumed",
		Keys:     func(A) []string { return nil },
	}).With(builtin.Reference{Example: example})
}
