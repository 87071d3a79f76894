// SPDX-License-Identifier: Apache-2.0

package sensitive

import (
	"bytes"
	"testing"
)

// A buffer that grows zeroes the ones it outgrows, and Wipe zeroes the last
// one, also behind the slice's end.
func TestEveryBufferIsTrackedAndWiped(t *testing.T) {
	tracker := Track()
	defer tracker.Stop()
	secret := []byte("a value")
	var b []byte
	var want []byte
	for range 1000 {
		b = Append("test", b, secret...)
		want = append(want, secret...)
	}
	if !bytes.Equal(b, want) {
		t.Fatal("Append lost bytes")
	}
	all := tracker.Buffers()
	if len(all) < 4 {
		t.Fatalf("%d buffers were tracked, want 4 or more", len(all))
	}
	for _, outgrown := range all[:len(all)-1] {
		if outgrown.Purpose != "test" || bytes.Trim(outgrown.Bytes, "\x00") != nil {
			t.Errorf("an outgrown buffer holds %.20q", outgrown.Bytes)
		}
	}
	last := all[len(all)-1].Bytes
	if &last[0] != &b[0] || len(last) != cap(b) || !bytes.Contains(last, secret) {
		t.Error("the buffer in use was not tracked last")
	}
	Wipe(b[:3])
	if bytes.Trim(last, "\x00") != nil {
		t.Error("Wipe left bytes behind the slice's end")
	}
}

// Grow uses the room there is. A new buffer is larger by a share of the old
// one, so that appending byte by byte copies little.
func TestGrow(t *testing.T) {
	b := Make("test", 3, 10)
	if g := Grow("test", b, 7); &g[0] != &b[0] {
		t.Error("Grow moved a buffer that had room")
	}
	for size, want := range map[int]int{10: smallest, 1000: 2000, 2 * doubling: 3 * doubling} {
		if got := cap(Grow("test", make([]byte, size), 1)); got != want {
			t.Errorf("a full buffer of %d bytes grows to %d, want %d", size, got, want)
		}
	}
	if got := cap(Grow("test", nil, 5000)); got != 5000 {
		t.Errorf("an empty buffer grows to %d bytes, want 5000", got)
	}
}
