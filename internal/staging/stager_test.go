// SPDX-License-Identifier: Apache-2.0

package staging

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bauxite/caddy-kvaware/internal/lmcache"
	"github.com/bauxite/caddy-kvaware/internal/routing"
)

// knowingClient is an LMCache that answers lookups.
type knowingClient struct{ readyClient }

func (c *knowingClient) CanLookup() bool { return true }
func (c *knowingClient) Lookup(context.Context, *lmcache.Prefix, []string) ([]lmcache.Holding, error) {
	return []lmcache.Holding{{Upstream: "a:1", Memory: 256, Storage: 1024, Whole: true}}, nil
}

// TestConsult: a lookup of one turn finds the next turn's blocks.
func TestConsult(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Options{Client: &knowingClient{}, Totals: NewTotals()}).(*stager)
		defer s.Close()
		first := Prompt{Model: "m", Ends: []uint64{10}}
		tokens := s.tokens.keep(make([]uint32, 2048))
		s.service.StartLookup(lmcache.Prefix{Model: "m", Tokens: tokens.ids, Key: first.whole()}, []string{"a:1", "b:1"}, tokens.release)
		time.Sleep(lookupDelay)
		synctest.Wait()

		next := Prompt{Model: "m", Ends: []uint64{10, 11}}
		candidates := []routing.Candidate{{Address: "b:1"}, {Address: "a:1"}}
		offloads, known := s.Consult(&next, candidates, nil)
		want := routing.Offload{CPU: 256, Storage: 1024, Whole: true}
		if !known || len(offloads) != 1 || candidates[0].Offload != nil || candidates[1].Offload == nil || *candidates[1].Offload != want {
			t.Errorf("known %v, %+v at %+v", known, offloads, candidates)
		}
		other := Prompt{Model: "m", Ends: []uint64{12}}
		if _, known := s.Consult(&other, candidates, offloads); known {
			t.Error("another prompt is known")
		}
		time.Sleep(lookupTTL)
		if _, known := s.Consult(&next, candidates, offloads); known {
			t.Error("an old answer still counts")
		}
	})
}

// TestConsultTellsChunks: the sizes of chunks are known also without lookups.
func TestConsultTellsChunks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Options{Client: &readyClient{}, Totals: NewTotals()})
		defer s.Close()
		candidates := []routing.Candidate{{Address: "a:1"}}
		for _, want := range []int{0, 128} {
			if _, known := s.Consult(&Prompt{}, candidates, nil); known || candidates[0].OffloadChunk != want {
				t.Errorf("known %v, %+v, want a chunk of %d", known, candidates[0], want)
			}
			synctest.Wait()
		}
	})
}

func TestLearnLead(t *testing.T) {
	s := newTestStager()
	defer s.Close()
	for range 50 {
		s.learnLead(100 * time.Millisecond)
	}
	if lead := time.Duration(s.lead.Load()); lead < 99*time.Millisecond || lead > 100*time.Millisecond {
		t.Errorf("lead %v after 50 times 100ms", lead)
	}
}
