// SPDX-License-Identifier: Apache-2.0

package janitor

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/bauxite/caddy-kvaware/internal/admission"
)

// interruptible returns a started chunkedBody that is closed with the test.
func interruptible(t *testing.T, body io.Reader, until time.Time) *chunkedBody {
	t.Helper()
	c := newChunkedBody(body)
	c.start(until)
	t.Cleanup(c.close)
	return c
}

// The same bytes come out, whatever sizes they are read in, and the error of the
// body comes after them.
func TestChunkedBodyReads(t *testing.T) {
	until := time.Now().Add(time.Hour)
	want := strings.Repeat("a body in chunks ", 5000)
	for name, wrap := range map[string]func(io.Reader) io.Reader{
		"whole": func(r io.Reader) io.Reader { return r }, "bytes": iotest.OneByteReader, "halves": iotest.HalfReader, "with EOF": iotest.DataErrReader,
	} {
		if err := iotest.TestReader(interruptible(t, wrap(strings.NewReader(want)), until), []byte(want)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	failing := interruptible(t, io.MultiReader(strings.NewReader("some"), iotest.ErrReader(io.ErrUnexpectedEOF)), until)
	if b, err := io.ReadAll(failing); string(b) != "some" || err != io.ErrUnexpectedEOF {
		t.Errorf("%q, %v", b, err)
	}
	if _, err := interruptible(t, panicking{}, until).Read(make([]byte, 1)); err != io.ErrUnexpectedEOF {
		t.Errorf("a panic became %v", err)
	}
}

type panicking struct{}

func (panicking) Read([]byte) (int, error) { panic("a bug in a wrapped body") }

// A read that was interrupted, or came too late, is taken up again: no byte is
// lost, wherever it happened.
func TestChunkedBodyResumes(t *testing.T) {
	for seed := range uint64(100) {
		synctest.Test(t, func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(5, seed))
			client, server := net.Pipe()
			want := bytes.Repeat([]byte("0123456789"), 3000)
			var sender sync.WaitGroup
			defer sender.Wait()
			defer server.Close()
			sender.Go(func() {
				defer client.Close()
				for rest := want; len(rest) > 0; {
					n := min(1+rnd.IntN(5000), len(rest))
					time.Sleep(time.Millisecond)
					_, _ = client.Write(rest[:n])
					rest = rest[n:]
				}
			})
			limit := time.Duration(1+seed%10) * time.Millisecond
			wantErr := error(os.ErrDeadlineExceeded)
			var c *chunkedBody
			if seed%2 == 0 {
				c, wantErr = interruptible(t, server, time.Now().Add(time.Hour)), admission.ErrPreempted
				time.AfterFunc(limit, c.Interrupt)
			} else {
				c = interruptible(t, server, time.Now().Add(limit))
			}
			got, err := io.ReadAll(c)
			if err == nil && len(got) == len(want) {
				return // it arrived before
			}
			if !errors.Is(err, wantErr) {
				t.Fatalf("seed %d: %v after %d bytes", seed, err, len(got))
			}
			c.resume()
			rest, err := io.ReadAll(c)
			if got = append(got, rest...); err != nil || !bytes.Equal(got, want) {
				t.Errorf("seed %d: %d bytes of %d, %v", seed, len(got), len(want), err)
			}
		})
	}
}
