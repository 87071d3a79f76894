// SPDX-License-Identifier: Apache-2.0

package janitor

import (
	"bytes"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/bauxite/caddy-kvaware/internal/prompt"
)

// The reader gives the same bytes as splicing.
func TestBodyReader(t *testing.T) {
	rnd := rand.New(rand.NewPCG(7, 8))
	for range 300 {
		body := make([]byte, rnd.IntN(200))
		for i := range body {
			body[i] = byte('a' + rnd.IntN(26))
		}
		var edits []prompt.Edit
		for at := 0; at < len(body) && rnd.IntN(4) > 0; {
			start := at + rnd.IntN(len(body)-at)
			end := start + rnd.IntN(min(9, len(body)-start))
			edits = append(edits, prompt.Edit{Start: start, End: end, New: []byte(strings.Repeat("X", rnd.IntN(5)))})
			at = end + 1
		}
		want := prompt.Splice(body, edits, nil)
		if err := iotest.TestReader(newBodyReader(body, edits), want); err != nil {
			t.Fatalf("%q %v: %v", body, edits, err)
		}
		r := newBodyReader(body, edits)
		if r.size() != int64(len(want)) {
			t.Fatalf("size %d, want %d", r.size(), len(want))
		}
		var out bytes.Buffer
		_, _ = io.CopyN(&out, r, int64(rnd.IntN(20)))
		if _, err := r.WriteTo(&out); err != nil || !bytes.Equal(out.Bytes(), want) || r.size() != 0 {
			t.Fatalf("WriteTo gives %q, want %q; %v", out.Bytes(), want, err)
		}
	}
}
