// SPDX-License-Identifier: Apache-2.0

package janitor

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"regexp"
	"testing"

	"github.com/bauxite/caddy-kvaware/janitor/pii"
)

func mint(v *vault, e pii.Entity, value string) string {
	return string(v.placeholder(e, []byte(value)))
}

func all(pii.Entity) bool { return true }

func TestVaultNumbers(t *testing.T) {
	v := newVault(nil)
	for _, c := range []struct {
		entity pii.Entity
		value  string
		want   string
	}{
		{"EMAIL", "a@b", "[EMAIL_1]"}, {"EMAIL", "c@d", "[EMAIL_2]"}, {"CARD", "a@b", "[CARD_1]"},
		{"EMAIL", "a@b", "[EMAIL_1]"}, {"EMAIL", "", "[EMAIL_3]"}, {"CARD", "4", "[CARD_2]"},
	} {
		if got := mint(v, c.entity, c.value); got != c.want {
			t.Errorf("%s %q: %s, want %s", c.entity, c.value, got, c.want)
		}
	}
	v.seal(func(e pii.Entity) bool { return e == "EMAIL" })
	if v.Len() != 3 {
		t.Errorf("%d can be restored, want 3", v.Len())
	}
	for name, want := range map[string]string{"[EMAIL_1]": "a@b", "[EMAIL_2]": "c@d", "[EMAIL_3]": ""} {
		if got, ok := v.Value([]byte(name)); !ok || string(got) != want {
			t.Errorf("%s: %q %t", name, got, ok)
		}
	}
	for _, name := range []string{"[CARD_1]", "[EMAIL_4]", "[EMAIL_1", "EMAIL_1]", "[EMAIL_01]", "[EMAIL_10]", "", "["} {
		if _, ok := v.Value([]byte(name)); ok {
			t.Errorf("%q has a value", name)
		}
	}
	for tail, want := range map[string]bool{"": true, "[": true, "[EM": true, "[EMAIL_3": true, "[EMAIL_4": false, "[C": false, "x": false, "[EMAIL_1]x": false} {
		if got := v.HasPrefix([]byte(tail)); got != want {
			t.Errorf("HasPrefix(%q) = %t", tail, got)
		}
	}
}

// A number that stood in the text is not used after it, and placeholders before it
// do not change.
func TestVaultSkipsNumbers(t *testing.T) {
	v := newVault(nil)
	v.expect("EMAIL")
	v.noteText([]byte("x [EMAIL_2] [EMAIL_03] [EMAIL_] [[EMAIL_4]] [CARD_1] [EMAIL_5 ] [EMAIL_999999999999] [EMAIL_65536]"))
	for i, want := range []string{"[EMAIL_1]", "[EMAIL_3]", "[EMAIL_5]"} {
		if got := mint(v, "EMAIL", fmt.Sprint(i)); got != want {
			t.Errorf("%d: %s, want %s", i, got, want)
		}
	}
	v.noteText([]byte("[EMAIL_1] [EMAIL_6]"))
	if got := mint(v, "EMAIL", "0"); got != "[EMAIL_1]" {
		t.Errorf("renumbered: %s", got)
	}
	if got := mint(v, "EMAIL", "new"); got != "[EMAIL_7]" {
		t.Errorf("%s, want [EMAIL_7]", got)
	}
}

func TestVaultRestart(t *testing.T) {
	v := newVault(nil)
	v.expect("EMAIL")
	v.startItem(1)
	v.noteText([]byte("[EMAIL_1]"))
	if got := mint(v, "EMAIL", "a"); got != "[EMAIL_2]" {
		t.Error(got)
	}
	v.startItem(1)
	if got := mint(v, "EMAIL", "b"); got != "[EMAIL_3]" {
		t.Error(got)
	}
	v.startItem(2)
	if got := mint(v, "EMAIL", "b"); got != "[EMAIL_1]" {
		t.Error(got)
	}
	v.seal(all)
	if v.Len() != 0 {
		t.Error("placeholders that mean two values can be restored")
	}
}

func TestVaultKeyed(t *testing.T) {
	key := []byte("0123456789abcdef")
	form := regexp.MustCompile(`^\[EMAIL_[0-9a-f]{6}\]$`)
	a, b, other := newVault(key), newVault(key), newVault([]byte("fedcba9876543210"))
	first := mint(a, "EMAIL", "x@y")
	if !form.MatchString(first) {
		t.Errorf("form %s", first)
	}
	mint(b, "EMAIL", "before")
	b.noteText([]byte(first)) // the history of a conversation whose answers were not restored
	if got := mint(b, "EMAIL", "x@y"); got != first {
		t.Errorf("not stable: %s, then %s", first, got)
	}
	if got := mint(other, "EMAIL", "x@y"); got == first {
		t.Error("the key makes no difference")
	}
	if got := mint(a, "CARD", "x@y"); got[6:] == first[7:] {
		t.Error("the entity makes no difference")
	}
}

// Values that share six digits get more digits.
func TestVaultKeyedCollision(t *testing.T) {
	v := newVault([]byte("0123456789abcdef"))
	seen := make(map[string]string)
	longer := 0
	for i := range maxFindings {
		value := fmt.Sprint(i)
		name := mint(v, "EMAIL", value)
		if other, ok := seen[name]; ok {
			t.Fatalf("%s stands for %s and %s", name, other, value)
		}
		seen[name] = value
		if len(name) > len("[EMAIL_123456]") {
			longer++
		}
	}
	if longer == 0 {
		t.Error("no collision in ten thousand values of 24 bits: the test proves nothing")
	}
	v.seal(all)
	for name, value := range seen {
		if got, ok := v.Value([]byte(name)); !ok || string(got) != value {
			t.Fatalf("%s: %q, want %q", name, got, value)
		}
	}
}

// The vault behaves like a map.
func TestVaultModel(t *testing.T) {
	entities := []pii.Entity{"EMAIL", "CARD", "EMAIL_ADDRESS"}
	for seed := range uint64(50) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		v := newVault(nil)
		model := make(map[string]string) // entity and value: placeholder
		values := make(map[string]string)
		used := make(map[string]bool)
		next := make(map[pii.Entity]int)
		for _, e := range entities {
			v.expect(e)
		}
		for range 200 {
			e := entities[rnd.IntN(len(entities))]
			if rnd.IntN(3) == 0 {
				literal := fmt.Sprintf("[%s_%d]", e, 1+rnd.IntN(40))
				v.noteText([]byte("a " + literal + "b"))
				used[literal] = true
				continue
			}
			value := fmt.Sprint(rnd.IntN(60))
			want, ok := model[string(e)+" "+value]
			for !ok {
				next[e]++
				want = fmt.Sprintf("[%s_%d]", e, next[e])
				ok = !used[want]
			}
			model[string(e)+" "+value] = want
			values[want] = value
			if got := mint(v, e, value); got != want {
				t.Fatalf("seed %d: %s, want %s", seed, got, want)
			}
		}
		v.seal(all)
		if v.Len() != len(values) {
			t.Fatalf("seed %d: %d placeholders, want %d", seed, v.Len(), len(values))
		}
		for name, want := range values {
			if got, ok := v.Value([]byte(name)); !ok || string(got) != want {
				t.Fatalf("seed %d: %s is %q, want %q", seed, name, got, want)
			}
			if !v.HasPrefix([]byte(name[:1+rnd.IntN(len(name)-1)])) {
				t.Fatalf("seed %d: no prefix of %s", seed, name)
			}
		}
	}
}

// Nothing is left in the arena, nor in outgrown ones.
func TestVaultWipe(t *testing.T) {
	v := newVault(nil)
	var arenas [][]byte
	for i := range 2000 {
		mint(v, "EMAIL", fmt.Sprintf("secret-%d", i))
		if n := len(arenas); n == 0 || &arenas[n-1][0] != &v.arena[0] {
			arenas = append(arenas, v.arena[:cap(v.arena)])
		}
	}
	if len(arenas) < 3 {
		t.Fatalf("the arena grew %d times only", len(arenas))
	}
	if size := v.size(); size < int64(cap(v.arena)) {
		t.Errorf("size %d is less than the arena", size)
	}
	v.wipe()
	for _, a := range arenas {
		if bytes.Count(a, []byte{0}) != len(a) {
			t.Error("an arena was not zeroed")
		}
	}
	if v.Len() != 0 || v.arena != nil || v.HasPrefix([]byte("[")) {
		t.Error("something is left")
	}
	v.wipe()
}

func BenchmarkVault(b *testing.B) {
	values := make([][]byte, 100)
	for i := range values {
		values[i] = fmt.Appendf(nil, "someone.%d@example.org", i)
	}
	for b.Loop() {
		v := newVault(nil)
		for _, value := range values {
			v.placeholder("EMAIL", value)
		}
		v.seal(all)
		v.wipe()
	}
}
