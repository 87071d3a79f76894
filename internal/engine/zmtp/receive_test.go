// SPDX-License-Identifier: Apache-2.0

package zmtp

import (
	"slices"
	"strings"
	"testing"
)

func TestReceive(t *testing.T) {
	long := strings.Repeat("x", 100_000)
	messages := [][]string{
		{"kv", "\x00\x00\x00\x00\x00\x00\x00\x07", "payload"},
		{""},
		{"", "", ""},
		{"a", long, "", "b"},
		{strings.Repeat("y", 255)}, {strings.Repeat("y", 256)},
		{"1", "2", "3", "4", "5", "6", "7", "8"},
	}
	var wire []byte
	for _, m := range messages {
		wire = append(wire, message(m...)...)
	}
	for _, chunk := range []int{1, 2, 3, 7, 1000, 4096, len(wire)} {
		c, p := connected(t, SUB, Options{})
		p.send(slices.Collect(slices.Chunk(wire, chunk))...)
		var m Message
		for i, want := range messages {
			if err := c.Receive(&m); err != nil {
				t.Fatalf("chunks of %d, message %d: %v", chunk, i, err)
			}
			if got := texts(&m); !slices.Equal(got, want) {
				t.Fatalf("chunks of %d, message %d: got %.60q, not %.60q", chunk, i, got, want)
			}
		}
		c.Close()
	}
}
