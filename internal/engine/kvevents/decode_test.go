// SPDX-License-Identifier: Apache-2.0

package kvevents

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/bauxite/caddy-kvaware/internal/engine/msgpack"
)

// Batches captured from engines: newer vLLM, older vLLM, and the first event of
// the older one with SGLang's signed hash.
const (
	mapBatch = `93 cb41daa8dbe0200000 93
 8b a474797065 ab426c6f636b53746f726564
    ac626c6f636b5f686173686573 91 cfdab89baa7b5857c0
    b1706172656e745f626c6f636b5f68617368 c0
    a9746f6b656e5f696473 94 ce0002505c cd0368 ccc6 cd03e8
    aa626c6f636b5f73697a65 04
    a76c6f72615f6964 c0  a66d656469756d a3475055  a96c6f72615f6e616d65 c0
    aa65787472615f6b657973 91 c0
    a967726f75705f696478 00
    b26b765f63616368655f737065635f6b696e64 ae66756c6c5f617474656e74696f6e
 84 a474797065 ac426c6f636b52656d6f766564 ac626c6f636b5f686173686573 91 cfdab89baa7b5857c0 a66d656469756d a3475055 a967726f75705f696478 00
 81 a474797065 b0416c6c426c6f636b73436c6561726564
00`
	arrayBatch = `93cb41daa8dbe0200000 93
 98 ab426c6f636b53746f726564 91cfdab89baa7b5857c0 c0 94ce0002505ccd0368ccc6cd03e8 04 c0 a3475055 c0
 93ac426c6f636b52656d6f76656491cfdab89baa7b5857c0a3475055 91b0416c6c426c6f636b73436c6561726564 00`
)

func unhex(s string) []byte {
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		panic(err)
	}
	return b
}

func TestBatchesOfEngines(t *testing.T) {
	const hash = 15760518052499183552
	want := []Event{
		{Kind: Stored, Hashes: []uint64{hash}, Root: true, Tokens: []uint32{151644, 872, 198, 1000}, BlockSize: 4},
		{Kind: Removed, Hashes: []uint64{hash}},
		{Kind: Cleared},
	}
	for name, data := range map[string]string{
		"maps":   mapBatch,
		"arrays": arrayBatch,
		"signed": strings.ReplaceAll(arrayBatch, "cfdab89baa7b5857c0", "d3dab89baa7b5857c0"),
		"digest": strings.ReplaceAll(mapBatch, "cfdab89baa7b5857c0", "c420"+strings.Repeat("11", 24)+"dab89baa7b5857c0"),
	} {
		events, b, err := decoded(unhex(data))
		if err != nil || b.Time != 1789095808.5 || b.Rank != 0 || b.Events != 3 || b.Unknown+b.Remote+b.Malformed() != 0 {
			t.Fatalf("%s: %+v, %v", name, b, err)
		}
		for i := range want {
			if !equal(events[i], want[i]) {
				t.Errorf("%s: %+v, want %+v", name, events[i], want[i])
			}
		}
	}
}

// one decodes a batch of one event.
func one(event any) (Event, error) {
	events, b, err := decoded(batchOf(event))
	if err == nil && len(events) != 1 {
		err = fmt.Errorf("%d events of %+v", len(events), b)
	}
	if err != nil {
		return Event{}, err
	}
	return events[0], nil
}

func TestFields(t *testing.T) {
	digest := append(bytes.Repeat([]byte{9}, 8), 0, 0, 0, 0, 0, 0, 1, 2)
	for _, c := range []struct {
		event any
		want  Event
	}{
		// Every position of the old form.
		{[]any{"BlockStored", []any{1, 2}, 7, []any{1, 2, 3, 4}, 2, 5, "CPU", "fr", []any{nil, []any{"fr", "salt"}}, 3, "sliding_window", 128, "later"},
			Event{Kind: Stored, Hashes: []uint64{1, 2}, Parent: 7, Tokens: []uint32{1, 2, 3, 4}, BlockSize: 2, Tier: CPU,
				LoRA: []byte("fr"), Extra: []uint64{0, SaltExtra("salt")}, Group: 3, Attention: Window}},
		{[]any{"BlockStored", []any{}, nil, []any{}, 0}, Event{Kind: Stored, Root: true}},
		{[]any{"BlockRemoved", []any{1}, "STORAGE", 2, "later"}, Event{Kind: Removed, Hashes: []uint64{1}, Tier: Disk, Group: 2}},
		{[]any{"BlockRemoved", []any{digest}}, Event{Kind: Removed, Hashes: []uint64{258}}},
		{[]any{"AllBlocksCleared", "later"}, Event{Kind: Cleared}},
		// The type is not first, fields are in another order, some are new.
		{pairs{"medium", "cpu", "new", pairs{"a", []any{1}}, "token_ids", []any{1 << 20}, "type", "BlockStored", "extra_keys", []any{[]any{"fr"}},
			"lora_name", "fr", "block_size", 1, "block_hashes", []any{-1}, "parent_block_hash", digest, "session_id", "s", "ownership", "tier0", "locality", "LOCAL"},
			Event{Kind: Stored, Hashes: []uint64{1<<64 - 1}, Parent: 258, Tokens: []uint32{1 << 20}, BlockSize: 1, Tier: CPU, LoRA: []byte("fr")}},
		{pairs{"type", "BlockRemoved", "block_hashes", []any{3}, "token_ids", "none of its fields"}, Event{Kind: Removed, Hashes: []uint64{3}}},
		{pairs{"type", "AllBlocksCleared", "block_hashes", "none of its fields"}, Event{Kind: Cleared}},
		// An adapter that has only a number.
		{[]any{"BlockStored", []any{1}, nil, []any{}, 0, 5}, Event{Kind: Stored, Hashes: []uint64{1}, Root: true, LoRA: []byte("\x00lora_id \x05")}},
		// SGLang's metadata.
		{[]any{"BlockStored", []any{-5, 6}, nil, []any{1, 2}, 1, nil, "GPU", pairs{"cache_salt", "salt", "session_id", "s"}},
			Event{Kind: Stored, Hashes: []uint64{1<<64 - 5, 6}, Root: true, Tokens: []uint32{1, 2}, BlockSize: 1, Extra: []uint64{SaltExtra("salt"), 0}}},
		{[]any{"BlockStored", []any{6}, -5, []any{2}, 1, nil, "CPU_PINNED", pairs{"cache_salt", "salt"}},
			Event{Kind: Stored, Hashes: []uint64{6}, Parent: 1<<64 - 5, Tokens: []uint32{2}, BlockSize: 1, Tier: CPU}},
		{pairs{"type", "BlockStored", "block_hashes", []any{1}, "parent_block_hash", nil, "token_ids", []any{2}, "block_size", 1, "cache_salt", "salt"},
			Event{Kind: Stored, Hashes: []uint64{1}, Root: true, Tokens: []uint32{2}, BlockSize: 1, Extra: []uint64{SaltExtra("salt")}}},
	} {
		if got, err := one(c.event); err != nil || !equal(got, c.want) {
			t.Errorf("%v:\n%+v, %v, want\n%+v", c.event, got, err, c.want)
		}
	}
}

func TestWords(t *testing.T) {
	for medium, want := range map[string]Tier{
		"": GPU, "GPU": GPU, "gpu": GPU, "CPU": CPU, "cpu": CPU, "Cpu_Pinned": CPU, "STORAGE": Disk, "DISK": Disk, "EXTERNAL": Disk,
		"CXL": Disk, "GPUS": Disk, strings.Repeat("GPU", 1000): Disk,
	} {
		if got, err := one([]any{"BlockRemoved", []any{1}, medium}); err != nil || got.Tier != want {
			t.Errorf("medium %.20q: %d, %v", medium, got.Tier, err)
		}
	}
	for kind, want := range map[string]Attention{
		"full_attention": Full, "mla_attention": Full, "sink_full_attention": Full, "sliding_window": Window, "sliding_window_mla": Window,
		"mamba": Window, "chunked_local_attention": Window, "encoder_only_attention": Window, "cross_attention": Window, "unknown": Window, "newer": Window,
	} {
		got, err := one(pairs{"type", "BlockStored", "block_hashes", []any{1}, "kv_cache_spec_kind", kind})
		if err != nil || got.Attention != want {
			t.Errorf("kind %q: %d, %v", kind, got.Attention, err)
		}
	}
}

// TestSkippedEvents: an event that cannot be used is skipped alone, and counted by
// the meaning of its loss.
func TestSkippedEvents(t *testing.T) {
	stored := func(p pairs) pairs { return append(pairs{"type", "BlockStored", "block_hashes", []any{1}}, p...) }
	for name, c := range map[string]struct {
		event any
		want  Batch
	}{
		"a type to come, map":   {pairs{"type", "BlockMoved", "block_hashes", "anything"}, Batch{Unknown: 1}},
		"a type to come, array": {[]any{"BlockMoved", 5}, Batch{Unknown: 1}},
		"remote store":          {stored(pairs{"locality", "REMOTE", "ownership", "t"}), Batch{Remote: 1}},
		"remote removal":        {pairs{"locality", "remote", "type", "BlockRemoved", "block_hashes", []any{1}}, Batch{Remote: 1}},
		"no event":              {5, Batch{LostRemovals: 1}},
		"empty array":           {[]any{}, Batch{LostRemovals: 1}},
		"empty map":             {pairs{}, Batch{LostRemovals: 1}},
		"no type":               {pairs{"block_hashes", []any{1}}, Batch{LostRemovals: 1}},
		"type is a number":      {pairs{"type", 1}, Batch{LostRemovals: 1}},
		"tag is a number":       {[]any{1}, Batch{LostRemovals: 1}},
		"key is a number":       {pairs{1, "BlockStored"}, Batch{LostRemovals: 1}},
		"later key is a number": {stored(pairs{1, 1}), Batch{LostStores: 1}},
		"short store":           {[]any{"BlockStored", []any{1}, nil, []any{}}, Batch{LostStores: 1}},
		"short removal":         {[]any{"BlockRemoved"}, Batch{LostRemovals: 1}},
		"no hashes":             {pairs{"type", "BlockStored"}, Batch{LostStores: 1}},
		"nil hashes":            {pairs{"type", "BlockRemoved", "block_hashes", nil}, Batch{LostRemovals: 1}},
		"short digest":          {pairs{"type", "BlockRemoved", "block_hashes", []any{[]byte("1234567")}}, Batch{LostRemovals: 1}},
		"text as hash":          {pairs{"type", "BlockRemoved", "block_hashes", []any{"12345678"}}, Batch{LostRemovals: 1}},
		"pairs of tokens":       {stored(pairs{"token_ids", []any{[]any{1, 2}}}), Batch{LostStores: 1}},
		"negative token":        {stored(pairs{"token_ids", []any{-1}}), Batch{LostStores: 1}},
		"large token":           {stored(pairs{"token_ids", []any{1 << 32}}), Batch{LostStores: 1}},
		"large block":           {stored(pairs{"block_size", maxBlockSize + 1}), Batch{LostStores: 1}},
		"negative block":        {stored(pairs{"block_size", -1}), Batch{LostStores: 1}},
		"large group":           {stored(pairs{"group_idx", maxGroup + 1}), Batch{LostStores: 1}},
		"long adapter":          {stored(pairs{"lora_name", strings.Repeat("a", maxName+1)}), Batch{LostStores: 1}},
		"adapter is a list":     {stored(pairs{"lora_name", []any{}}), Batch{LostStores: 1}},
		"long adapter id":       {stored(pairs{"lora_id", strings.Repeat("a", maxName+1)}), Batch{LostStores: 1}},
		"medium is a number":    {stored(pairs{"medium", 1}), Batch{LostStores: 1}},
		"keys for other blocks": {stored(pairs{"extra_keys", []any{nil, nil}}), Batch{LostStores: 1}},
		"keys are no list":      {stored(pairs{"extra_keys", []any{"salt"}}), Batch{LostStores: 1}},
		"keys nested deep":      {stored(pairs{"extra_keys", []any{[]any{[]any{[]any{[]any{[]any{[]any{}}}}}}}}), Batch{LostStores: 1}},
		"many hashes":           {pairs{"type", "BlockRemoved", "block_hashes", list(make([]int, maxHashes+1))}, Batch{LostRemovals: 1}},
		"many tokens":           {stored(pairs{"token_ids", list(make([]int, maxTokens+1))}), Batch{LostStores: 1}},
	} {
		after := []any{"BlockRemoved", []any{77}}
		events, b, err := decoded(batchOf(c.event, after))
		c.want.Time, c.want.Events = b.Time, 1
		if err != nil || b != c.want || len(events) != 1 || events[0].Hashes[0] != 77 {
			t.Errorf("%s: %+v, %v, %v", name, b, events, err)
		}
	}
}

func TestLargestEvent(t *testing.T) {
	e, err := one(pairs{"type", "BlockStored", "block_hashes", list(make([]int, maxHashes)), "token_ids", list(make([]int, maxTokens)),
		"block_size", maxBlockSize, "lora_name", strings.Repeat("a", maxName), "group_idx", maxGroup})
	if err != nil || len(e.Hashes) != maxHashes || len(e.Tokens) != maxTokens || e.BlockSize != maxBlockSize || len(e.LoRA) != maxName {
		t.Fatal(len(e.Hashes), len(e.Tokens), err)
	}
	var d Decoder
	if _, err := d.Decode(batchOf(pairs{"type", "BlockStored", "block_hashes", list(make([]int, maxHashes)), "token_ids", list(make([]int, maxTokens)),
		"cache_salt", "s"}), func(*Event) bool { return true }); err != nil {
		t.Fatal(err)
	}
	if cap(d.hashes) > keptElements || cap(d.tokens) > keptElements || cap(d.extra) > keptElements {
		t.Errorf("a decoder keeps %d, %d, %d elements", cap(d.hashes), cap(d.tokens), cap(d.extra))
	}
}

func TestBatches(t *testing.T) {
	removed := []any{"BlockRemoved", []any{1}}
	for name, c := range map[string]struct {
		payload []byte
		events  int
		rank    int
		err     error
	}{
		"two elements":       {pack(nil, []any{1.5, []any{removed}}), 1, -1, nil},
		"rank":               {pack(nil, []any{1.5, []any{removed}, 3}), 1, 3, nil},
		"rank and more":      {pack(nil, []any{1.5, []any{removed}, 3, pairs{"a", 1}, "b"}), 1, 3, nil},
		"no rank":            {pack(nil, []any{1.5, []any{removed}, nil}), 1, -1, nil},
		"rank of another":    {pack(nil, []any{1.5, []any{removed}, "r"}), 1, -1, nil},
		"negative rank":      {pack(nil, []any{1.5, []any{removed}, -2}), 1, -1, nil},
		"time is a number":   {pack(nil, []any{1, []any{removed}}), 1, -1, nil},
		"time is nil":        {pack(nil, []any{nil, []any{removed}}), 1, -1, nil},
		"no events":          {pack(nil, []any{1.5, []any{}}), 0, -1, nil},
		"nothing":            {nil, 0, -1, ErrBatch},
		"one element":        {pack(nil, []any{1.5}), 0, -1, ErrBatch},
		"a map":              {pack(nil, pairs{"ts", 1.5, "events", []any{}}), 0, -1, ErrBatch},
		"time is text":       {pack(nil, []any{"now", []any{}}), 0, -1, ErrBatch},
		"events are a map":   {pack(nil, []any{1.5, pairs{}}), 0, -1, ErrBatch},
		"cut in an event":    {pack(nil, []any{1.5, []any{removed, removed}})[:30], 1, -1, ErrBatch},
		"cut after an event": {pack(nil, []any{1.5, []any{removed}, nil})[:27], 1, -1, ErrBatch},
		"no value":           {append(pack(nil, []any{1.5, []any{removed}})[:9+1+1], 0xc1), 0, -1, ErrBatch},
		"deep": {append(pack(nil, []any{1.5, []any{}})[:10], append([]byte{0x91},
			append(bytes.Repeat([]byte{0x91}, msgpack.MaxDepth+1), 0xc0)...)...), 0, -1, ErrBatch},
	} {
		events, b, err := decoded(c.payload)
		if err != c.err || len(events) != c.events || b.Events != c.events || b.Rank != c.rank {
			t.Errorf("%s: %d events, %+v, %v", name, len(events), b, err)
		}
	}
	var d Decoder
	calls := 0
	b, err := d.Decode(batchOf(removed, removed, removed), func(*Event) bool { calls++; return calls < 2 })
	if err != nil || calls != 2 || b.Events != 2 {
		t.Errorf("stopped after %d events: %+v, %v", calls, b, err)
	}
}

// randomEvent makes an event, and its wire form in one of the encodings.
func randomEvent(r *rand.Rand) (Event, any) {
	e := Event{Kind: Kind(1 + r.IntN(3))}
	if e.Kind == Cleared {
		if r.IntN(2) == 0 {
			return e, []any{"AllBlocksCleared"}
		}
		return e, pairs{"type", "AllBlocksCleared"}
	}
	for range r.IntN(5) {
		e.Hashes = append(e.Hashes, r.Uint64()>>r.IntN(64))
	}
	e.Tier, e.Group = Tier(r.IntN(3)), r.IntN(3)
	media := []any{[]any{"GPU", "gpu", nil}, []any{"CPU", "cpu", "CPU_PINNED"}, []any{"STORAGE", "DISK", "external"}}[e.Tier].([]any)[r.IntN(3)]
	hashes := make([]any, len(e.Hashes))
	for i, h := range e.Hashes {
		hashes[i] = wireHash(r, h)
	}
	if e.Kind == Removed {
		if r.IntN(2) == 0 {
			return e, []any{"BlockRemoved", hashes, media, e.Group}
		}
		return e, shuffled(r, pairs{"type", "BlockRemoved", "block_hashes", hashes, "medium", media, "group_idx", e.Group})
	}
	e.Root = r.IntN(2) == 0
	var parent any
	if !e.Root {
		e.Parent = r.Uint64()
		parent = wireHash(r, e.Parent)
	}
	e.BlockSize = 1 + r.IntN(16)
	for range e.BlockSize * len(e.Hashes) {
		e.Tokens = append(e.Tokens, r.Uint32()>>r.IntN(32))
	}
	var lora, kind any
	if r.IntN(2) == 0 {
		e.LoRA = []byte("adapter")
		lora = "adapter"
	}
	if e.Attention = Attention(r.IntN(2)); e.Attention == Window {
		kind = "mamba"
	}
	extra := make([]any, len(e.Hashes))
	e.Extra = make([]uint64, len(e.Hashes))
	for i := range extra {
		var parts []any
		if r.IntN(2) == 0 {
			parts = append(parts, []any{"image", i})
		}
		if r.IntN(2) == 0 {
			parts = append(parts, "salt")
		}
		e.Extra[i] = ExtraOf(parts...)
		if lora != nil {
			parts = append([]any{lora}, parts...)
		}
		if parts != nil {
			extra[i] = parts
		}
	}
	if !strings.ContainsFunc(fmt.Sprint(e.Extra), func(c rune) bool { return c >= '1' && c <= '9' }) {
		e.Extra = nil
	}
	if r.IntN(2) == 0 {
		return e, []any{"BlockStored", hashes, parent, list(e.Tokens), e.BlockSize, nil, media, lora, extra, e.Group, kind}
	}
	return e, shuffled(r, pairs{"type", "BlockStored", "block_hashes", hashes, "parent_block_hash", parent, "token_ids", list(e.Tokens),
		"block_size", e.BlockSize, "lora_id", nil, "medium", media, "lora_name", lora, "extra_keys", extra, "group_idx", e.Group,
		"kv_cache_spec_kind", kind, "more", []any{1, pairs{2, 3}}})
}

func wireHash(r *rand.Rand, h uint64) any {
	switch r.IntN(3) {
	case 0:
		return int64(h)
	case 1:
		return append([]byte("12345678"), byte(h>>56), byte(h>>48), byte(h>>40), byte(h>>32), byte(h>>24), byte(h>>16), byte(h>>8), byte(h))
	}
	return h
}

func shuffled(r *rand.Rand, p pairs) pairs {
	r.Shuffle(len(p)/2, func(i, j int) {
		p[2*i], p[2*j] = p[2*j], p[2*i]
		p[2*i+1], p[2*j+1] = p[2*j+1], p[2*i+1]
	})
	return p
}

// TestAnyEncoding: an event decodes to the same value in all of its forms.
func TestAnyEncoding(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		var want []Event
		var wire []any
		for range r.IntN(20) {
			e, w := randomEvent(r)
			want, wire = append(want, e), append(wire, w)
		}
		got, b, err := decoded(batchOf(wire...))
		if err != nil || len(got) != len(want) || b.Malformed() != 0 {
			t.Fatalf("%d of %d events, %+v, %v", len(got), len(want), b, err)
		}
		for i := range want {
			if !equal(got[i], want[i]) {
				t.Fatalf("%v:\n%+v, want\n%+v", wire[i], got[i], want[i])
			}
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(unhex(mapBatch))
	f.Add(unhex(arrayBatch))
	r := rand.New(rand.NewPCG(3, 4))
	for range 20 {
		_, a := randomEvent(r)
		_, b := randomEvent(r)
		f.Add(batchOf(a, b))
	}
	f.Add(batchOf([]any{"BlockStored", []any{6}, -5, []any{2}, 1, nil, "CPU_PINNED", pairs{"cache_salt", "salt"}}))
	f.Fuzz(func(t *testing.T, payload []byte) {
		payload = bytes.Clone(payload)[:len(payload):len(payload)]
		events, b, err := decoded(payload)
		if err != nil && err != ErrBatch || b.Events != len(events) {
			t.Fatalf("%+v, %d events, %v", b, len(events), err)
		}
		for _, e := range events {
			if e.Kind < Stored || e.Kind > Cleared || e.Tier > Disk || e.Attention > Window || len(e.LoRA) > maxName+16 ||
				len(e.Hashes) > maxHashes || len(e.Tokens) > maxTokens || e.BlockSize < 0 || e.BlockSize > maxBlockSize ||
				e.Group < 0 || e.Group > maxGroup || len(e.Extra) > 0 && len(e.Extra) != len(e.Hashes) ||
				len(e.Hashes)+len(e.Tokens) > len(payload) || e.Kind != Stored && (e.Root || e.Tokens != nil || e.Extra != nil) {
				t.Fatalf("%+v", e)
			}
		}
	})
}

// storedBlocks returns a batch of stores, each of a prompt of 64 blocks of 16 tokens.
func storedBlocks(events int, array bool) []byte {
	r := rand.New(rand.NewPCG(5, 6))
	var wire []any
	for range events {
		hashes, tokens := make([]uint64, 64), make([]uint32, 64*16)
		for i := range hashes {
			hashes[i] = r.Uint64()
		}
		for i := range tokens {
			tokens[i] = r.Uint32N(150000)
		}
		if array {
			wire = append(wire, []any{"BlockStored", list(hashes), nil, list(tokens), 16, nil, "GPU", nil})
			continue
		}
		wire = append(wire, pairs{"type", "BlockStored", "block_hashes", list(hashes), "parent_block_hash", nil, "token_ids", list(tokens),
			"block_size", 16, "lora_id", nil, "medium", "GPU", "lora_name", nil, "extra_keys", make([]any, 64), "group_idx", 0,
			"kv_cache_spec_kind", "full_attention"})
	}
	return batchOf(wire...)
}

func BenchmarkDecode(b *testing.B) {
	removed := make([]any, 1024)
	for i := range removed {
		removed[i] = pairs{"type", "BlockRemoved", "block_hashes", []any{uint64(i) << 40}, "medium", "GPU", "group_idx", 0}
	}
	for _, c := range []struct {
		name    string
		payload []byte
		blocks  int
	}{
		{"stored/map", storedBlocks(16, false), 1024},
		{"stored/array", storedBlocks(16, true), 1024},
		{"removed/map", batchOf(removed...), 1024},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.SetBytes(int64(len(c.payload)))
			b.ReportAllocs()
			var d Decoder
			for b.Loop() {
				blocks := 0
				if _, err := d.Decode(c.payload, func(e *Event) bool { blocks += len(e.Hashes); return true }); err != nil || blocks != c.blocks {
					b.Fatal(blocks, err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*c.blocks), "ns/block")
		})
	}
}
