package archive

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"sync/atomic"
)

const (
	chunkSize  = 256 << 10 // bytes; large enough that channel traffic costs nothing
	chunkCount = 6         // chunks between reader and decoder: 1.5 MiB in all
	chunkMin   = 64 << 10  // a pipe gives little at a time: gather this much before handing on
)

// source reads the file as stored, on a goroutine of its own, so that reading
// and hashing run beside unpacking. It is itself a reader, of what was read.
type source struct {
	chunks chan []byte // filled, in order; closed at the end
	free   chan []byte // to be filled again
	whole  []byte      // the chunk that current is the rest of
	rest   []byte

	// Written by run before chunks is closed, to be read after that.
	end  error // io.EOF, or a *sourceError
	read int64
	sum  string

	failed atomic.Bool // Read has given out an error other than io.EOF
}

func startSource(ctx context.Context, r io.Reader, frames *zstdFrames, progress func(int64)) *source {
	s := &source{
		chunks: make(chan []byte, chunkCount),
		free:   make(chan []byte, chunkCount),
	}
	for range chunkCount {
		s.free <- make([]byte, chunkSize)
	}
	go s.run(ctx, r, frames, progress)
	return s
}

// run reads r to its end, or until something is wrong or ctx ends.
func (s *source) run(ctx context.Context, r io.Reader, frames *zstdFrames, progress func(int64)) {
	defer close(s.chunks)
	hash := sha256.New()
	for {
		var chunk []byte
		select {
		case chunk = <-s.free:
		case <-ctx.Done():
			s.end = s.stopped(ctx)
			return
		}
		n, err := fill(ctx, r, chunk[:chunkSize])
		chunk = chunk[:n]

		// Only what lies before a wrong frame is handed on, so that the decoder
		// meets the walker's finding and not its own, which says less.
		good, wrong := n, error(nil)
		eof := isEnd(err)
		if eof && s.read+int64(n) == 0 {
			wrong = &DamageError{What: "the file is empty"}
		} else if frames != nil {
			good, wrong = frames.feed(chunk)
			if wrong == nil && eof {
				wrong = frames.finish()
			}
		}
		select {
		case s.chunks <- chunk[:good]: // the decoder only reads it, and so does the hash
		case <-ctx.Done():
			s.end = s.stopped(ctx)
			return
		}
		hash.Write(chunk)
		s.read += int64(n)
		if progress != nil {
			progress(s.read)
		}

		switch {
		case eof:
			s.sum = hex.EncodeToString(hash.Sum(nil))
			s.end = io.EOF
		case err != nil && ctx.Err() != nil:
			s.end = s.stopped(ctx)
		case err != nil:
			s.end = &sourceError{fmt.Errorf("the archive could not be read past byte %d: %w", s.read, err)}
		}
		if wrong != nil {
			s.end = &sourceError{wrong}
		}
		if s.end != nil {
			return
		}
	}
}

func (s *source) stopped(ctx context.Context) error {
	return &sourceError{fmt.Errorf("verifying was stopped after %d bytes: %w", s.read, ctx.Err())}
}

// fill reads until buf holds chunkMin bytes or more.
func fill(ctx context.Context, r io.Reader, buf []byte) (n int, err error) {
	for idle := 0; n < chunkMin; {
		if err := ctx.Err(); err != nil {
			return n, err
		}
		got, err := r.Read(buf[n:])
		n += got
		if err != nil {
			return n, err
		}
		if got > 0 {
			idle = 0
		} else if idle++; idle == 100 {
			return n, io.ErrNoProgress
		}
	}
	return n, nil
}

// Read gives what run has read; at its end, the reason for it.
func (s *source) Read(p []byte) (int, error) {
	for len(s.rest) == 0 {
		if s.whole != nil {
			s.free <- s.whole // never blocks: there is room for every chunk
			s.whole = nil
		}
		chunk, ok := <-s.chunks
		if !ok {
			if !isEnd(s.end) {
				s.failed.Store(true)
			}
			return 0, s.end
		}
		s.whole, s.rest = chunk, chunk
	}
	n := copy(p, s.rest)
	s.rest = s.rest[n:]
	return n, nil
}

// isEnd tells the end that a Reader reports from a failure that wraps one: to
// take that for the end would be to judge a file that could not be read.
func isEnd(err error) bool {
	return err == io.EOF //nolint:errorlint // what is wrapped is no end
}

// wait returns when run has ended. Nobody may be in Read.
func (s *source) wait() {
	for range s.chunks {
	}
}
