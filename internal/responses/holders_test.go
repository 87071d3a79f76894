// SPDX-License-Identifier: Apache-2.0

package responses

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// model is a slow list of the responses, oldest first.
type model struct {
	limit   int
	keys    []Key
	holders []string
}

func (m *model) record(k Key, address string) {
	if i := slices.Index(m.keys, k); i >= 0 {
		m.holders[i] = address
		return
	}
	if len(m.keys) == m.limit {
		m.keys, m.holders = m.keys[1:], m.holders[1:]
	}
	m.keys, m.holders = append(m.keys, k), append(m.holders, address)
}

func (m *model) holder(k Key) string {
	if i := slices.Index(m.keys, k); i >= 0 {
		return m.holders[i]
	}
	return ""
}

func (m *model) forget(address string) {
	for i := len(m.keys) - 1; i >= 0; i-- {
		if m.holders[i] == address {
			m.keys, m.holders = slices.Delete(m.keys, i, i+1), slices.Delete(m.holders, i, i+1)
		}
	}
}

// validate recounts what the memory keeps.
func (h *Holders) validate(t *testing.T) {
	t.Helper()
	uses := make(map[upstream]int)
	for _, u := range h.upstreams {
		uses[u]++
	}
	if len(h.order) != len(h.upstreams) || len(h.order) > h.limit {
		t.Fatalf("%d in order, %d in the map, limit %d", len(h.order), len(h.upstreams), h.limit)
	}
	if len(h.names.number) != len(uses) || len(h.names.address) != len(uses) || len(h.names.uses) != len(uses) {
		t.Fatalf("%d addresses used, %+v kept", len(uses), h.names)
	}
	for u, n := range uses {
		if h.names.uses[u] != n || h.names.number[h.names.address[u]] != u {
			t.Fatalf("upstream %d: %d uses, %+v", u, n, h.names)
		}
	}
}

func TestHoldersAgainstModel(t *testing.T) {
	for seed := range uint64(20) {
		random := rand.New(rand.NewPCG(seed, 0))
		limit := 1 + random.IntN(12)
		h, m := NewHolders(limit), &model{limit: limit}
		for step := range 3000 {
			k, address := Key(random.IntN(30)), fmt.Sprint("node", random.IntN(4), ":1")
			switch random.IntN(100) {
			case 0:
				h.Clear()
				m.keys, m.holders = nil, nil
			case 1, 2, 3:
				h.Forget(address)
				m.forget(address)
			default:
				h.Record(k, address)
				m.record(k, address)
			}
			for k := range Key(30) {
				if got, want := h.Holder(k), m.holder(k); got != want {
					t.Fatalf("seed %d, step %d: response %d is at %q, want %q", seed, step, k, got, want)
				}
			}
			if h.Len() != len(m.keys) {
				t.Fatalf("seed %d, step %d: %d responses, want %d", seed, step, h.Len(), len(m.keys))
			}
			h.validate(t)
		}
	}
}

func TestKeys(t *testing.T) {
	secret := []byte(strings.Repeat("k", 32))
	seen := make(map[Key]string)
	for _, c := range []struct {
		secret []byte
		id     string
	}{{secret, "resp_1"}, {secret, "resp_2"}, {secret[:16], "resp_1"}, {secret[:16], string(secret[16:]) + "resp_1"}, {nil, "resp_1"}, {secret, ""}} {
		k := KeyOf(c.secret, c.id)
		if other, twice := seen[k]; twice {
			t.Errorf("%q and %q have one key", other, c.id)
		}
		seen[k] = c.id
		if KeyOf(c.secret, c.id) != k {
			t.Errorf("%q has two keys", c.id)
		}
	}
}

// The full memory stays small, whatever addresses come and go.
func TestMemoryIsBounded(t *testing.T) {
	h := NewHolders(1000)
	for i := range 5000 {
		h.Record(Key(i), fmt.Sprint("node", i, ":1"))
	}
	h.validate(t)
	if h.Len() != 1000 || len(h.names.number) != 1000 {
		t.Errorf("%d responses at %d upstreams", h.Len(), len(h.names.number))
	}
}
