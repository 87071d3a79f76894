// SPDX-License-Identifier: Apache-2.0

package janitor

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/andybalholm/brotli"
)

// An answer is decompressed as it is written, in whatever pieces, and all that can
// be decoded is passed on at once.
func TestUnpacker(t *testing.T) {
	text := strings.Repeat("data: {\"a\":\"b\"}\n\n", 500)
	for _, name := range codingNames {
		packed := compress(t, name, text)
		c, _ := codingByName(codingHeader(name))
		for _, step := range []int{1, 7, 100, len(packed)} {
			var out bytes.Buffer
			u := newUnpacker(c, &out)
			for at := 0; at < len(packed); at += step {
				if _, err := u.Write(packed[at:min(at+step, len(packed))]); err != nil {
					t.Fatalf("%s by %d: %v", name, step, err)
				}
			}
			if err := u.finish(); err != nil || out.String() != text {
				t.Errorf("%s by %d: %d bytes, %v", name, step, out.Len(), err)
			}
			u.stop()
		}
		u := newUnpacker(c, io.Discard)
		if _, err := u.Write(packed[:len(packed)/2]); err != nil {
			t.Errorf("%s: half of it: %v", name, err)
		}
		if err := u.finish(); err != errBroken {
			t.Errorf("%s cut off: %v", name, err)
		}
		u.stop()
		u = newUnpacker(c, io.Discard)
		_, _ = u.Write(packed[:len(packed)/2])
		u.stop() // the client has gone: the decoder must end
		failing := errors.New("client gone")
		u = newUnpacker(c, writerFunc(func([]byte) (int, error) { return 0, failing }))
		_, err := u.Write(packed)
		if err = cmp.Or(err, u.finish()); err != failing {
			t.Errorf("%s: %v, want the writer's error", name, err)
		}
		u.stop()
	}
}

// What the engine flushed reaches the client before the engine writes more.
func TestUnpackerPassesOnFlushes(t *testing.T) {
	const event = "data: {\"a\":1}\n\n"
	writers := map[string]func(io.Writer) interface {
		io.WriteCloser
		Flush() error
	}{
		"gzip": func(w io.Writer) interface {
			io.WriteCloser
			Flush() error
		} {
			return gzip.NewWriter(w)
		},
		"br": func(w io.Writer) interface {
			io.WriteCloser
			Flush() error
		} {
			return brotli.NewWriter(w)
		},
	}
	for name, open := range writers {
		c, _ := codingByName(name)
		var out bytes.Buffer
		u := newUnpacker(c, &out)
		w := open(u)
		for i := range 20 {
			_, _ = io.WriteString(w, event)
			if err := w.Flush(); err != nil {
				t.Fatal(err)
			}
			if out.String() != strings.Repeat(event, i+1) {
				t.Fatalf("%s: after %d events: %q", name, i+1, out.String())
			}
		}
		if err := errors.Join(w.Close(), u.finish()); err != nil {
			t.Error(err)
		}
		u.stop()
	}
}
