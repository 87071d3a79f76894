// SPDX-License-Identifier: Apache-2.0

package kvindex

import (
	"encoding/json"
	"os"
	"testing"

	"github.com/bauxite/caddy-kvaware/internal/engine/kvevents"
	"github.com/bauxite/caddy-kvaware/radixcache"
)

// recording holds requests that a real engine was asked one after the other.
type recording struct {
	Engine      string
	BlockTokens int `json:"block_tokens"`
	Steps       []struct {
		What          string
		Adapter, Salt string
		Tokens        []uint32 // of the prompt
		Cached        int      // tokens that the engine reports
		Batches       [][]byte // that it publishes then
	}
}

// Before each request of a recording of vLLM, the index knows as many of its tokens as
// the engine then reports as cached. `make real` records it anew.
func TestRecordedEventsOfVLLM(t *testing.T) {
	raw, err := os.ReadFile("testdata/vllm-events.json")
	if err != nil {
		t.Fatal(err)
	}
	var r recording
	if err := json.Unmarshal(raw, &r); err != nil {
		t.Fatal(err)
	}
	tree := radixcache.New(1 << 20)
	x := New(tree, nil)
	feed := x.Feed("engine")
	var decoder kvevents.Decoder
	cached := 0
	for _, s := range r.Steps {
		key := TokenKey{Model: "tiny", Adapter: s.Adapter, BlockTokens: r.BlockTokens}
		if s.Salt != "" {
			key.Salt = kvevents.SaltExtra(s.Salt)
		}
		held := 0
		for _, m := range tree.Lookup(x.Chain(x.Space(key), s.Tokens, nil), nil) {
			if m.Upstream == feed.ID() {
				held = int(m.Blocks) * r.BlockTokens
			}
		}
		// An engine computes the last token of a prompt in any case.
		if held = min(held, (len(s.Tokens)-1)/r.BlockTokens*r.BlockTokens); held != s.Cached {
			t.Errorf("%s: the index knows %d of %d tokens, %s had %d", s.What, held, len(s.Tokens), r.Engine, s.Cached)
		}
		cached += s.Cached
		for _, payload := range s.Batches {
			b, err := decoder.Decode(payload, func(e *kvevents.Event) bool { return feed.Apply(e) })
			if err != nil || b.Unknown > 0 {
				t.Errorf("%s: %+v, %v", s.What, b, err)
			}
		}
	}
	if stats := feed.Stats(); cached == 0 || stats.UnknownParents > 0 || stats.Ignored > 0 {
		t.Errorf("%d tokens were cached in all; %+v", cached, stats)
	}
}
