// SPDX-License-Identifier: Apache-2.0

package upstreams

import (
	"fmt"
	"hash/maphash"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/bauxite/caddy-kvaware/internal/engine/metrics"
)

// TestLackingAgainstModel compares lacking with a map of the times of the answers.
func TestLackingAgainstModel(t *testing.T) {
	type key struct{ address, api, model string }
	for seed := range uint64(20) {
		random := rand.New(rand.NewPCG(seed, 1))
		pick := func(what string, n int) string { return fmt.Sprint(what, random.IntN(n)) }
		l := &lacking{seed: maphash.MakeSeed()}
		since := make(map[key]time.Time)
		now := time.Unix(1_800_000_000, 0)
		for step := range 2000 {
			now = now.Add(time.Duration(random.IntN(2000)) * time.Millisecond)
			k := key{pick("node", 4), pick("api", 2), pick("model", 5)}
			switch random.IntN(10) {
			case 0:
				l.forget(k.address)
				for other := range since {
					if other.address == k.address {
						delete(since, other)
					}
				}
			case 1:
				asked := now.Add(-time.Duration(random.IntN(5)) * time.Second)
				l.listed(k.address, metrics.Models{{Name: k.model}, {Name: "another"}}, asked)
				for other, at := range since {
					if other.address == k.address && other.model == k.model && at.Before(asked) {
						delete(since, other)
					}
				}
			default:
				l.note(k.address, k.api, k.model, now)
				since[k] = now
			}
			k = key{"", pick("api", 2), pick("model", 5)}
			want := []string{}
			for other, at := range since {
				if other.api == k.api && other.model == k.model && now.Sub(at) < lackingFor {
					want = append(want, other.address)
				}
			}
			slices.Sort(want)
			got := l.by(k.api, k.model, now)
			slices.Sort(got)
			if !slices.Equal(got, want) {
				t.Fatalf("seed %d, step %d: %q lack it, want %q", seed, step, got, want)
			}
		}
	}
}

func TestLackingIsBounded(t *testing.T) {
	l := &lacking{seed: maphash.MakeSeed()}
	now := time.Unix(1_800_000_000, 0)
	for i := range 5 * maxLacking {
		l.note("a:1", "chat", fmt.Sprint("made up ", i), now)
	}
	if len(l.entries) != maxLacking || cap(l.entries) > 4*maxLacking {
		t.Errorf("%d entries, room for %d", len(l.entries), cap(l.entries))
	}
	if l.by("chat", fmt.Sprint("made up ", 5*maxLacking-1), now) == nil {
		t.Error("the latest is gone")
	}
}

// An upstream that lacks a model has its list read soon, and is back with it.
func TestAnUpstreamThatLacksAModel(t *testing.T) {
	testEngines(t, map[string]string{
		"a:1/metrics":   vllmSays(0, 0, 1000, 100),
		"a:1/v1/models": `{"data":[{"id":"m"}]}`,
	}, []string{"a:1", "b:1"}, func(e *engineTest) {
		for range 5 {
			e.refresh()
			time.Sleep(time.Second) // virtual
		}
		e.Lacks("a:1", "chat", "adapter")
		e.Lacks("a:1", "chat", "m") // the list says otherwise
		e.Lacks("b:1", "chat", "m") // there is no list
		if e.Lacking("chat", "adapter") == nil || e.Lacking("chat", "m") == nil || e.Lacking("messages", "m") != nil {
			t.Fatal("what was noted is not known")
		}
		e.refresh()
		time.Sleep(3 * time.Second)
		e.refresh()
		if got := e.Lacking("chat", "m"); !slices.Equal(got, []string{"b:1"}) {
			t.Fatalf("%q lack a model that one lists", got)
		}
		if got := e.Lacking("chat", "adapter"); !slices.Equal(got, []string{"a:1"}) {
			t.Fatalf("%q lack the adapter", got)
		}
		time.Sleep(lackingFor)
		e.refresh()
		if e.Lacking("chat", "m") != nil || e.Lacking("chat", "adapter") != nil {
			t.Fatal("it is known for ever")
		}
	})
}
