// SPDX-License-Identifier: Apache-2.0

package janitor

import (
	"bytes"
	"context"
	"testing"

	"github.com/bauxite/caddy-kvaware/internal/admission"
)

// A buffer that was outgrown keeps nothing of the prompt.
func TestOutgrownBuffersAreWiped(t *testing.T) {
	b := admission.New()
	l := b.Open(admission.Request{Limit: 10 << 20})
	defer l.Close()
	if err := l.Grow(context.Background(), 64); err != nil {
		t.Fatal(err)
	}
	old := append(make([]byte, 0, 64), "the key is not for others to find"...)
	grown, err := growBody(context.Background(), old, -1, l)
	if err != nil || !bytes.Contains(grown, []byte("not for others")) || cap(grown) <= 64 {
		t.Fatalf("%d of %d bytes, %v", len(grown), cap(grown), err)
	}
	if !bytes.Equal(old[:cap(old)], make([]byte, 64)) {
		t.Fatalf("the old buffer still holds %q", old)
	}
}
