// SPDX-License-Identifier: Apache-2.0

package sensitive

import (
	"bytes"
	"sync"
	"testing"
)

// All that was ever written is zeroed as it is outgrown and as it is wiped, and
// all of it is seen, also behind a slice's end.
func TestEveryArenaIsSeenAndWiped(t *testing.T) {
	w := Track()
	defer w.Stop()
	secret := []byte("a value")
	var b []byte
	var want []byte
	for range 1000 {
		b = Append("test", b, secret...)
		want = append(want, secret...)
	}
	if !bytes.Equal(b, want) {
		t.Fatal("what was appended is not there")
	}
	all := w.Buffers()
	if len(all) < 4 {
		t.Fatalf("%d arenas were seen", len(all))
	}
	for _, a := range all[:len(all)-1] {
		if a.Purpose != "test" || bytes.Trim(a.Bytes, "\x00") != nil {
			t.Errorf("an arena that was outgrown holds %.20q", a.Bytes)
		}
	}
	last := all[len(all)-1].Bytes
	if &last[0] != &b[0] || len(last) != cap(b) || !bytes.Contains(last, secret) {
		t.Error("the arena in use is not the last one")
	}
	Wipe(b[:3])
	if bytes.Trim(last, "\x00") != nil {
		t.Error("wiped, there is something left behind the end")
	}
}

// Arenas are only kept while they are watched.
func TestOnlyWatchedArenasAreKept(t *testing.T) {
	Append("test", nil, 'x')
	w := Track()
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() { Make("test", 1, 8) })
	}
	all.Wait()
	if n := len(w.Buffers()); n != 8 {
		t.Errorf("%d arenas were seen, want 8", n)
	}
	w.Stop()
	Append("test", nil, 'x')
	if n := len(w.Buffers()); n != 0 {
		t.Errorf("%d arenas after the end", n)
	}
}

// Room that is there is used; what grows grows by a share, so that appending
// byte by byte copies little.
func TestGrow(t *testing.T) {
	b := Make("test", 3, 10)
	if g := Grow("test", b, 7); &g[0] != &b[0] {
		t.Error("it has moved although there was room")
	}
	for size, want := range map[int]int{10: smallest, 1000: 2000, 2 * doubling: 3 * doubling} {
		if got := cap(Grow("test", make([]byte, size), 1)); got != want {
			t.Errorf("after %d bytes come %d, want %d", size, got, want)
		}
	}
	if got := cap(Grow("test", nil, 5000)); got != 5000 {
		t.Errorf("for 5000 bytes there are %d", got)
	}
}
