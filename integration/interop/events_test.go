// SPDX-License-Identifier: Apache-2.0

package interop

import (
	"encoding/json"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/bauxite/caddy-kvaware/internal/engine/kvevents"
	"github.com/bauxite/caddy-kvaware/internal/engine/zmtp"
)

// name is a block's hash as an unsigned number: -2686226021210368064 is the same.
const name = 15760518052499183552

// encodings are batches as engines build them. Python's msgpack chooses the form of
// each integer, string and container.
var encodings = []struct {
	name, batch string
	want        []kvevents.Event
	tell        kvevents.Batch
}{
	{
		"maps of vLLM 0.24 and later",
		`[1789095808.5, [
			{"type":"BlockStored","block_hashes":[15760518052499183552],"parent_block_hash":null,"token_ids":[151644,872,198,1000],
			 "block_size":4,"lora_id":null,"medium":"GPU","lora_name":null,"extra_keys":[null],"group_idx":0,"kv_cache_spec_kind":"full_attention"},
			{"type":"BlockStored","block_hashes":[1,2],"parent_block_hash":15760518052499183552,"token_ids":[0,127,128,255,256,65535,65536,4294967295],
			 "block_size":4,"lora_id":7,"medium":"cpu","lora_name":"tenant-a","extra_keys":[["tenant-a","salt"],["tenant-a"]],"group_idx":1,
			 "kv_cache_spec_kind":"mla_attention","locality":"LOCAL","ownership":"l1","session_id":"s","what_comes_next":{"a":[1,{"b":null}]}},
			{"type":"BlockRemoved","block_hashes":[15760518052499183552],"medium":"STORAGE","group_idx":0},
			{"type":"BlockCounted","blocks":[1,2,3]},
			{"type":"AllBlocksCleared"}
		], 3, "and more"]`,
		[]kvevents.Event{
			{Kind: kvevents.Stored, Hashes: []uint64{name}, Root: true, Tokens: []uint32{151644, 872, 198, 1000}, BlockSize: 4},
			{Kind: kvevents.Stored, Hashes: []uint64{1, 2}, Parent: name, Tokens: []uint32{0, 127, 128, 255, 256, 65535, 65536, math.MaxUint32},
				BlockSize: 4, Tier: kvevents.CPU, Group: 1, LoRA: []byte("tenant-a"), Extra: []uint64{kvevents.SaltExtra("salt"), 0}},
			{Kind: kvevents.Removed, Hashes: []uint64{name}, Tier: kvevents.Disk},
			{Kind: kvevents.Cleared},
		},
		kvevents.Batch{Time: 1789095808.5, Rank: 3, Events: 4, Unknown: 1},
	},
	{
		"arrays of vLLM before that",
		`[1789095808.5, [
			["BlockStored",[15760518052499183552],null,[151644,872,198,1000],4,null,"GPU"],
			["BlockStored",[9],15760518052499183552,[1,2,3,4],4,null,"GPU","tenant-a",[["tenant-a"]],2,"sliding_window",4096,"and more"],
			["BlockRemoved",[15760518052499183552],"GPU"],
			["AllBlocksCleared"]
		], null]`,
		[]kvevents.Event{
			{Kind: kvevents.Stored, Hashes: []uint64{name}, Root: true, Tokens: []uint32{151644, 872, 198, 1000}, BlockSize: 4},
			{Kind: kvevents.Stored, Hashes: []uint64{9}, Parent: name, Tokens: []uint32{1, 2, 3, 4}, BlockSize: 4, Group: 2,
				LoRA: []byte("tenant-a"), Attention: kvevents.Window},
			{Kind: kvevents.Removed, Hashes: []uint64{name}},
			{Kind: kvevents.Cleared},
		},
		kvevents.Batch{Time: 1789095808.5, Rank: -1, Events: 4},
	},
	{
		"SGLang: signed hashes, and a map where vLLM has the adapter",
		`[1789095808.5, [
			["BlockStored",[-2686226021210368064,-1,-128,-32769],null,[5,6,7,8],1,null,"GPU",{"cache_salt":"salt","session_id":null}],
			["BlockStored",[3],-2686226021210368064,[5],1,null,"CPU_PINNED"],
			["BlockRemoved",[-2686226021210368064],"DISK"],
			{"type":"BlockStored","block_hashes":[-5],"parent_block_hash":-1,"token_ids":[1],"block_size":1,"lora_id":null,"medium":"GPU","cache_salt":"salt"}
		], 1]`,
		[]kvevents.Event{
			{Kind: kvevents.Stored, Hashes: []uint64{name, math.MaxUint64, math.MaxUint64 - 127, math.MaxUint64 - 32768}, Root: true,
				Tokens: []uint32{5, 6, 7, 8}, BlockSize: 1, Extra: []uint64{kvevents.SaltExtra("salt"), 0, 0, 0}},
			{Kind: kvevents.Stored, Hashes: []uint64{3}, Parent: name, Tokens: []uint32{5}, BlockSize: 1, Tier: kvevents.CPU},
			{Kind: kvevents.Removed, Hashes: []uint64{name}, Tier: kvevents.Disk},
			{Kind: kvevents.Stored, Hashes: []uint64{math.MaxUint64 - 4}, Parent: math.MaxUint64, Tokens: []uint32{1}, BlockSize: 1},
		},
		kvevents.Batch{Time: 1789095808.5, Rank: 1, Events: 4},
	},
	{
		"whole digests, of SHA-256 and xxHash",
		`[1, [
			{"type":"BlockStored","block_hashes":[{"bin":"` + strings.Repeat("11", 24) + `dab89baa7b5857c0"}],"parent_block_hash":{"bin":"` + strings.Repeat("22", 8) + `0000000000000007"},
			 "token_ids":[1],"block_size":1,"lora_id":null,"medium":"GPU","lora_name":null},
			["BlockRemoved",[{"bin":"` + strings.Repeat("11", 24) + `dab89baa7b5857c0"}],"GPU"]
		], 0]`,
		[]kvevents.Event{
			{Kind: kvevents.Stored, Hashes: []uint64{name}, Parent: 7, Tokens: []uint32{1}, BlockSize: 1},
			{Kind: kvevents.Removed, Hashes: []uint64{name}},
		},
		kvevents.Batch{Time: 1, Rank: 0, Events: 2},
	},
	{
		"many events, and long lists",
		`[1.5, [` + strings.Repeat(`{"type":"BlockRemoved","block_hashes":[1],"medium":"GPU"},`, 70_000) + `
			{"type":"BlockStored","block_hashes":[1` + strings.Repeat(",1", 69_999) + `],"parent_block_hash":null,"token_ids":[],"block_size":0,"lora_id":null,"medium":"CPU","lora_name":null}], 0]`,
		append(slices.Repeat([]kvevents.Event{{Kind: kvevents.Removed, Hashes: []uint64{1}}}, 70_000),
			kvevents.Event{Kind: kvevents.Stored, Hashes: slices.Repeat([]uint64{1}, 70_000), Root: true, Tokens: []uint32{}, Tier: kvevents.CPU}),
		kvevents.Batch{Time: 1.5, Rank: 0, Events: 70_001},
	},
}

// TestEncodingsOfPython decodes engines' events as Python's msgpack encodes them,
// received over libzmq.
func TestEncodingsOfPython(t *testing.T) {
	p := publish(t)
	for _, e := range encodings {
		p.do(map[string]any{"batch": json.RawMessage(e.batch)})
	}
	c := dial(t, p.where.Replay, zmtp.DEALER, zmtp.Options{})
	ask(t, c, 0)
	var m zmtp.Message
	var d kvevents.Decoder
	for i, e := range encodings {
		receive(t, c, &m)
		if got := sequence(t, &m, 1); got != uint64(i) {
			t.Fatalf("got batch %d, not %d", got, i)
		}
		var got []kvevents.Event
		tell, err := d.Decode(m.Parts[2], func(e *kvevents.Event) bool {
			got = append(got, keep(*e))
			return true
		})
		if err != nil || tell != e.tell {
			t.Errorf("%s: %+v, %v", e.name, tell, err)
		}
		for i, want := range e.want {
			if i >= len(got) || !reflect.DeepEqual(got[i], want) {
				t.Errorf("%s: event %d:\n got %.200v\nwant %.200v", e.name, i, got[min(i, len(got)):min(i+1, len(got))], want)
				break
			}
		}
	}
}

// keep copies an event with its slices.
func keep(e kvevents.Event) kvevents.Event {
	e.Hashes, e.Tokens = slices.Clone(e.Hashes), slices.Clone(e.Tokens)
	e.LoRA, e.Extra = slices.Clone(e.LoRA), slices.Clone(e.Extra)
	return e
}
