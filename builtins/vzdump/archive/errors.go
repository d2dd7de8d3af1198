package archive

import (
	"errors"
	"fmt"
)

// DamageError says that the archive is not whole: it was read, and what was
// read is wrong or missing. A restore from it would fail, or restore something
// other than what was backed up.
type DamageError struct {
	// Offset is where it was noticed, in bytes from the start of the file as
	// stored or, if InUnpacked, of the unpacked stream. The cause can lie before.
	Offset     int64
	InUnpacked bool
	What       string // what was read, and what was expected instead
}

func (e *DamageError) Error() string {
	stream := "the file"
	if e.InUnpacked {
		stream = "the unpacked stream"
	}
	return fmt.Sprintf("the archive is damaged (noticed at byte %d of %s): %s; "+
		"do not restore from it: use another archive, or back the guest up again", e.Offset, stream, e.What)
}

// damage is a DamageError in the unpacked stream.
func damage(offset int64, format string, args ...any) error {
	return &DamageError{Offset: offset, InUnpacked: true, What: fmt.Sprintf(format, args...)}
}

// UnsupportedError says that this package cannot tell whether the archive is
// whole. It is no verdict on the archive.
type UnsupportedError struct {
	What string // what was met
	Do   string // what to do instead
}

func (e *UnsupportedError) Error() string {
	return "cannot verify the archive: " + e.What + "; " + e.Do
}

// sourceError carries the reason why the source ended through the decoders and
// archive/tar, which would change or replace a bare io.EOF or
// io.ErrUnexpectedEOF. Verify takes it off again.
type sourceError struct{ err error }

func (e *sourceError) Error() string { return e.err.Error() }
func (e *sourceError) Unwrap() error { return e.err }

// found is what one of this package's own layers found wrong, whatever a
// library has wrapped it in; nil if it is the library's own finding.
func found(err error) error {
	if e, ok := errors.AsType[*sourceError](err); ok {
		return e
	}
	if e, ok := errors.AsType[*DamageError](err); ok {
		return e
	}
	if e, ok := errors.AsType[*UnsupportedError](err); ok {
		return e
	}
	return nil
}
