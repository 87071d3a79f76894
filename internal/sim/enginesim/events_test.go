// SPDX-License-Identifier: Apache-2.0

package enginesim

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// mirror is the simplest consumer of one publisher's events: the copies of each
// block, and its successors.
type mirror struct {
	copies map[uint64]int
	after  map[string]uint64 // parent, tokens, adapter and extra keys -> block
	stores int
	merged int // stores of several blocks
	gone   int
}

func newMirror() *mirror { return &mirror{copies: map[uint64]int{}, after: map[string]uint64{}} }

func step(parent *uint64, tokens []uint32, lora string, extra any) string {
	if parent == nil {
		return fmt.Sprint("root ", tokens, lora, extra)
	}
	return fmt.Sprint(*parent, " ", tokens, lora, extra)
}

func (m *mirror) apply(t *testing.T, e decodedEvent) {
	t.Helper()
	switch e.kind {
	case "BlockStored":
		if e.size != 16 || len(e.tokens) != 16*len(e.hashes) || e.medium != "GPU" {
			t.Fatalf("store of %d blocks: %d tokens, size %d, %s", len(e.hashes), len(e.tokens), e.size, e.medium)
		}
		m.stores++
		if len(e.hashes) > 1 {
			m.merged++
		}
		for i, hash := range e.hashes {
			var extra any
			if e.extra != nil {
				extra = e.extra[i]
			} else if e.form == "array" && e.more != nil {
				extra = e.more["cache_salt"]
			}
			m.after[step(e.parent, e.tokens[16*i:16*(i+1)], e.lora, extra)] = hash
			m.copies[hash]++
			e.parent = &hash
		}
	case "BlockRemoved":
		if len(e.hashes) != 1 || m.copies[e.hashes[0]] == 0 {
			t.Fatalf("removal of %v, which is not there", e.hashes)
		}
		m.gone++
		if m.copies[e.hashes[0]]--; m.copies[e.hashes[0]] == 0 {
			delete(m.copies, e.hashes[0])
		}
	case "AllBlocksCleared":
		clear(m.copies)
	default:
		t.Fatalf("event %q", e.kind)
	}
}

// held returns how many of the tokens the cache has from their beginning on.
// keys are the extra keys of the first and of every other block.
func (m *mirror) held(tokens []uint32, lora string, first, other any) int {
	var parent *uint64
	n, extra := 0, first
	for n+16 < len(tokens) { // the last token is always computed
		hash, ok := m.after[step(parent, tokens[n:n+16], lora, extra)]
		if !ok || m.copies[hash] == 0 {
			break
		}
		n, parent, extra = n+16, &hash, other
	}
	return n
}

// traffic sends random conversations at once, some of which end early.
func traffic(t *testing.T, e *Engine, seed uint64, requests int, models ...string) {
	t.Helper()
	var wg sync.WaitGroup
	for worker := range uint64(4) {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(seed, worker))
			for range requests {
				text := strings.Repeat(fmt.Sprintf("topic %d. ", rng.IntN(4)), 10+rng.IntN(60))
				more := []string{"", `,"cache_salt":"s"`, `,"stream":true`}[rng.IntN(3)]
				body := strings.Replace(chatBody(text, more+fmt.Sprintf(`,"max_tokens":%d`, 1+rng.IntN(60))), `"m"`, `"`+models[rng.IntN(len(models))]+`"`, 1)
				ctx, cancel := context.WithCancel(context.Background())
				r, _ := http.NewRequestWithContext(ctx, http.MethodPost, e.URL()+"/v1/chat/completions", strings.NewReader(body))
				res, err := http.DefaultClient.Do(r)
				if err != nil {
					t.Error(err)
					cancel()
					return
				}
				if rng.IntN(6) == 0 {
					cancel()
				}
				for b := make([]byte, 4096); err == nil; {
					_, err = res.Body.Read(b)
				}
				res.Body.Close()
				cancel()
			}
		})
	}
	wg.Wait()
	for e.Stats().Running+e.Stats().Waiting > 0 { // cancelled requests end by themselves
		time.Sleep(time.Millisecond)
	}
}

// TestEventsAreTheCache checks that applying all events, in any encoding, gives the
// cache of each rank, copy by copy, and predicts the hits of the next request.
func TestEventsAreTheCache(t *testing.T) {
	for name, events := range map[string]EventsConfig{
		"map":    {Encoding: EventMap},
		"array":  {Encoding: EventArray, FirstSequence: 1},
		"sglang": {Encoding: EventSGLang},
		"wide":   {WideHashes: true},
	} {
		t.Run(name, func(t *testing.T) {
			e := start(t, Config{Models: []string{"m", "ad"}, Ranks: 2, CacheBlocks: 120, Events: &events, Speed: 200})
			models := []string{"m", "m", "ad"}
			if name == "sglang" { // its events have no adapter names
				models = models[:1]
			}
			f := followers(t, e, events.FirstSequence)
			for round := range uint64(3) {
				traffic(t, e, round, 12, models...)
				f.catchUp(t)
				for rank, m := range f.mirrors {
					if held := e.CachedBlocks(rank); !maps.Equal(held, m.copies) {
						t.Fatalf("rank %d: the cache holds %d blocks, its events say %d", rank, len(held), len(m.copies))
					}
				}
				for _, text := range []string{"topic 0. ", "topic 1. ", "topic 2. ", "topic 3. "} {
					for rank := range e.ranks {
						f.checkPredictions(t, rank, strings.Repeat(text, 45), name)
					}
				}
			}
			for rank, m := range f.mirrors {
				if m.gone == 0 || m.stores == 0 || m.merged == 0 && name != "sglang" || name == "sglang" && m.merged != 0 {
					t.Errorf("rank %d tested nothing: %d stores, %d of several blocks, %d removals", rank, m.stores, m.merged, m.gone)
				}
			}
			if f.hits == 0 || f.hits == f.asked {
				t.Errorf("predictions tested nothing: %d of %d are hits", f.hits, f.asked)
			}
			if e.Subscribers(0) != 1 || e.Subscribers(2) != 0 || e.EventsAddr(2) != "" || e.Published(2) != 0 || e.Published(0) != e.NextSequence(0)-events.FirstSequence || e.CachedBlocks(-1) != nil {
				t.Error("ranks that do not exist")
			}
		})
	}
}

// follower has a mirror of each rank.
type follower struct {
	engine      *Engine
	clients     []*zmtpClient
	mirrors     []*mirror
	next        []uint64
	asked, hits int
}

func followers(t *testing.T, e *Engine, first uint64) *follower {
	t.Helper()
	f := &follower{engine: e}
	for rank := range e.ranks {
		f.clients = append(f.clients, subscribed(t, e, rank, ""))
		f.mirrors = append(f.mirrors, newMirror())
		f.next = append(f.next, first)
	}
	return f
}

// catchUp applies all events up to the engine's current state.
func (f *follower) catchUp(t *testing.T) {
	t.Helper()
	for rank, m := range f.mirrors {
		for end := f.engine.NextSequence(rank); f.next[rank] < end; f.next[rank]++ {
			_, sequence, b := f.clients[rank].next()
			if sequence != f.next[rank] || b.rank != rank {
				t.Fatalf("batch %d of rank %d, want %d of %d", sequence, b.rank, f.next[rank], rank)
			}
			for _, event := range b.events {
				m.apply(t, event)
			}
		}
	}
}

// checkPredictions sends requests to a rank and compares its cached tokens with the
// prediction from its events.
func (f *follower) checkPredictions(t *testing.T, rank int, text, encoding string) {
	t.Helper()
	for _, test := range []struct {
		model, more  string
		lora         string
		first, other any
	}{
		{"m", "", "", nil, nil},
		{"m", `,"cache_salt":"s"`, "", []any{"s"}, nil},
		{"ad", "", "ad", []any{"ad"}, []any{"ad"}},
		{"ad", `,"cache_salt":"s"`, "ad", []any{"ad", "s"}, []any{"ad"}},
	} {
		if encoding == "sglang" {
			if test.model == "ad" {
				continue
			}
			if test.more != "" { // it repeats the salt in each page
				test.first, test.other = "s", "s"
			}
		}
		body := strings.Replace(chatBody(text, test.more+`,"max_tokens":1`), `"m"`, `"`+test.model+`"`, 1)
		var tokens struct{ Tokens []uint32 }
		ask(t, f.engine, "/tokenize", body, &tokens)
		want := f.mirrors[rank].held(tokens.Tokens, test.lora, test.first, test.other)
		r, _ := http.NewRequest(http.MethodPost, f.engine.URL()+"/v1/chat/completions", strings.NewReader(body))
		r.Header.Set("X-data-parallel-rank", fmt.Sprint(rank))
		var answer openAIAnswer
		if err := json.Unmarshal([]byte(do(t, r)), &answer); err != nil {
			t.Fatal(err)
		}
		got := answer.Usage.Details.CachedTokens
		if f.asked++; got > 0 {
			f.hits++
		}
		if got != want {
			t.Errorf("rank %d %s%s: %d cached, predicted %d", rank, test.model, test.more, got, want)
		}
		f.catchUp(t)
	}
}

// TestCopiesAreStoredAndRemovedOneByOne checks that each repetition of a prompt of
// full blocks computes and stores its last block again, in a further copy, which
// is evicted while the first copy stays.
func TestCopiesAreStoredAndRemovedOneByOne(t *testing.T) {
	e := start(t, Config{CacheBlocks: 8, OutputTokens: 1, MaxModelLen: 128, Events: &EventsConfig{}})
	f := followers(t, e, 0)
	whole := `{"prompt":"` + strings.Repeat("four", 64) + `"}`
	for range 3 {
		post(t, e, "/v1/completions", whole)
	}
	f.catchUp(t)
	m := f.mirrors[0]
	if got := slices.Sorted(maps.Values(m.copies)); !slices.Equal(got, []int{1, 1, 1, 3}) {
		t.Fatalf("copies %v", got)
	}
	// The request needs seven of the eight blocks: one is empty, and the copies are
	// the least recently freed.
	post(t, e, "/v1/completions", `{"prompt":"`+strings.Repeat("else", 16)+`"}`)
	post(t, e, "/v1/completions", whole)
	f.catchUp(t)
	if m.gone == 0 || !maps.Equal(m.copies, e.CachedBlocks(0)) {
		t.Errorf("%d removals, %v, want %v", m.gone, m.copies, e.CachedBlocks(0))
	}
	if got := e.Served()[4].CachedTokens; got != 48 {
		t.Errorf("%d cached after the removal of a copy", got)
	}
}

// TestEventFields compares a whole batch with a batch of vLLM.
func TestEventFields(t *testing.T) {
	e := start(t, Config{Models: []string{"m", "ad"}, OutputTokens: 1, Events: &EventsConfig{Topic: "kv-events", Seed: 7}})
	c := subscribed(t, e, 0, "kv")
	other := dialZMTP(t, e.EventsAddr(0), readySub)
	other.send("\x00\x0e\x01none of these")
	before := float64(time.Now().Unix())
	var tokens struct{ Tokens []uint32 }
	body := `{"model":"ad","prompt":"` + strings.Repeat("four", 33) + `","cache_salt":"pepper"}`
	ask(t, e, "/tokenize", body, &tokens)
	post(t, e, "/v1/completions", body)
	topic, sequence, b := c.next()
	if topic != "kv-events" || sequence != 0 || b.rank != 0 || b.seconds < before || b.seconds > before+60 || len(b.events) != 1 {
		t.Fatalf("%q %d %+v", topic, sequence, b)
	}
	got := b.events[0]
	if !slices.Equal(got.tokens, tokens.Tokens[:32]) {
		t.Errorf("tokens %v", got.tokens)
	}
	delete(got.more, "token_ids")
	delete(got.more, "block_hashes")
	want := map[string]any{
		"type": "BlockStored", "parent_block_hash": nil, "block_size": uint64(16), "lora_id": uint64(1), "medium": "GPU",
		"lora_name": "ad", "extra_keys": []any{[]any{"ad", "pepper"}, []any{"ad"}}, "group_idx": uint64(0),
		"kv_cache_spec_kind": "full_attention",
	}
	if fmt.Sprint(got.more) != fmt.Sprint(want) || len(got.hashes) != 2 {
		t.Errorf("event %v\nwant  %v", got.more, want)
	}
	// A block's name does not depend on its content alone.
	chain := blockChain("ad", "pepper", tokens.Tokens, 16)
	if slices.Equal(got.hashes, chain) {
		t.Error("blocks have the names that every node would give them")
	}

	post(t, e, "/reset_prefix_cache", "")
	if _, sequence, b := c.next(); sequence != 1 || len(b.events) != 1 || b.events[0].kind != "AllBlocksCleared" || len(b.events[0].more) != 1 {
		t.Errorf("reset: %d %+v", sequence, b)
	}
	other.silent(50 * time.Millisecond)
}

// TestNodesNameBlocksDifferently compares the names of equal prompts on two nodes.
func TestNodesNameBlocksDifferently(t *testing.T) {
	var seen []uint64
	for range 2 {
		e := start(t, Config{Events: &EventsConfig{}})
		for range 2 {
			c := subscribed(t, e, 0, "")
			post(t, e, "/v1/completions", `{"prompt":"`+strings.Repeat("four", 33)+`"}`)
			_, _, b := c.next()
			seen = append(seen, b.events[0].hashes[0])
			if err := e.Restart(); err != nil {
				t.Fatal(err)
			}
			http.DefaultClient.CloseIdleConnections()
		}
	}
	slices.Sort(seen)
	if len(slices.Compact(seen)) != 4 {
		t.Errorf("four processes, names %x", seen)
	}
}

// TestGeneratedBlocksAreStored checks that an answer's full blocks follow the prompt's.
func TestGeneratedBlocksAreStored(t *testing.T) {
	e := start(t, Config{Events: &EventsConfig{}, Responder: Text(strings.Repeat("four", 40))})
	c := subscribed(t, e, 0, "")
	var tokens struct{ Tokens []uint32 }
	ask(t, e, "/tokenize", chatBody("hello", ""), &tokens)
	post(t, e, "/v1/chat/completions", chatBody("hello", ""))
	all := append(tokens.Tokens, AppendTokens(nil, strings.Repeat("four", 40))...)
	var last uint64
	for i := range len(all) / 16 {
		_, _, b := c.next()
		s := b.events[0]
		if len(b.events) != 1 || len(s.hashes) != 1 || !slices.Equal(s.tokens, all[16*i:16*(i+1)]) || (s.parent == nil) != (i == 0) || i > 0 && *s.parent != last {
			t.Fatalf("block %d: %+v", i, b)
		}
		last = s.hashes[0]
	}
}
