// SPDX-License-Identifier: Apache-2.0

package interop

import (
	"bytes"
	"math"
	"testing"
	"time"

	"github.com/bauxite/caddy-kvaware/internal/engine/zmtp"
)

// TestReplayBeyondTheHighWaterMark: a ROUTER with the default mark drops messages
// for a reader that was slow for a moment, in the middle and at the end, with the
// end mark. Asking again from the first missing number brings all of them.
func TestReplayBeyondTheHighWaterMark(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds of real time")
	}
	const batches, size = 10_000, 8 << 10 // ten times what sockets' buffers hold
	p := publish(t, "--topic-in-replay")
	p.do(map[string]any{"bytes": size, "times": batches})
	c := dial(t, p.where.Replay, zmtp.DEALER, zmtp.Options{})
	next, requests, dropped := uint64(0), 0, false
	for next < batches {
		if requests++; requests > batches/100 {
			t.Fatalf("only %d of %d batches after %d requests", next, batches, requests)
		}
		ask(t, c, next)
		if requests == 1 {
			// All of it is queued or dropped before anything is read.
			for p.do(map[string]any{}).Replays == 0 {
			}
		}
		got, whole := readReplay(t, c, next, size)
		dropped = dropped || !whole
		next = got
	}
	if !dropped {
		t.Error("nothing was dropped: this shows nothing")
	}
	t.Logf("%d requests for %d batches", requests, batches)
}

// readReplay reads the answer to a request while it is contiguous. It returns the
// next number, and whether the end mark came.
func readReplay(t *testing.T, c *zmtp.Conn, next uint64, size int) (uint64, bool) {
	t.Helper()
	whole := true
	var m zmtp.Message
	for {
		switch err := c.ReceiveUntil(&m, time.Now().Add(time.Second)); err {
		case zmtp.ErrDeadline:
			return next, false
		case nil:
		default:
			t.Fatal(err)
		}
		got := sequence(t, &m, 2)
		switch {
		case got == math.MaxUint64:
			return next, whole
		case got != next:
			whole = false
		case !bytes.Equal(m.Parts[3], batch(size, got)):
			t.Fatalf("batch %d: %.60x", got, m.Parts[3])
		default:
			next++
		}
	}
}
