// SPDX-License-Identifier: Apache-2.0

package prompt

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// without returns the body without the engine members, and their names in body
// order.
func without(t testing.TB, d *Document, api API, body string, take EngineMembers) (string, []string) {
	t.Helper()
	if err := d.ParseWithout(api, []byte(body), take); err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	slices.SortFunc(d.Taken, func(a, b Taken) int { return cmp.Compare(a.Start, b.Start) })
	var edits []Edit
	var names []string
	for _, m := range d.Taken {
		edits = append(edits, Edit{Start: m.Start, End: m.End})
		names = append(names, m.Member.String())
	}
	return string(d.Splice(edits, nil)), names
}

func TestEngineMembers(t *testing.T) {
	const messages = `"messages":[{"role":"user","content":"x"}]`
	for _, c := range []struct {
		name       string
		api        API
		body, want string
		members    string
	}{
		{"none", Chat, `{` + messages + `}`, `{` + messages + `}`, ""},
		{"first", Chat, `{"kv_transfer_params":{"do_remote_prefill":true},` + messages + `}`, `{` + messages + `}`, "kv_transfer_params"},
		{"last", Chat, `{` + messages + ` , "kv_transfer_params" : {"a":[1,{}]} }`, `{` + messages + `  }`, "kv_transfer_params"},
		{"between", Chat, `{"model":"m","ec_transfer_params":null, ` + messages + `}`, `{"model":"m", ` + messages + `}`, "ec_transfer_params"},
		{"several", Completions, `{ "bootstrap_host":"h", "bootstrap_port":[1,2],"prompt":"x","bootstrap_room":7,"routed_dp_rank":0,"n":1,"disagg_prefill_dp_rank":1}`,
			`{ "prompt":"x","n":1}`, "bootstrap_host bootstrap_port bootstrap_room routed_dp_rank disagg_prefill_dp_rank"},
		{"escaped", Completions, `{"prompt":"x","\u006bv_transfer\u005fparams":{"lmcache.tag.a":"b"}}`, `{"prompt":"x"}`, "kv_transfer_params"},
		{"Anthropic", Messages, `{` + messages + `,"kv_transfer_params":{}}`, `{` + messages + `}`, "kv_transfer_params"},
		{"responses", Responses, `{"input":"x","kv_transfer_params":{}}`, `{"input":"x"}`, "kv_transfer_params"},
		{"embeddings", Embeddings, `{"input":["x"],"data_parallel_rank":3}`, `{"input":["x"]}`, "data_parallel_rank"},
		{"rerank", Rerank, `{"query":"x","documents":[],"kv_router_hint":{"source_control_endpoint":"h:1"}}`, `{"query":"x","documents":[]}`, "kv_router_hint"},
		{"unknown path", Other, `{"text":"x","http_worker_ipc":"tcp://h:1","encoder_urls":["http://h"]}`, `{"text":"x"}`, "http_worker_ipc encoder_urls"},
		{"nothing left", Other, `{ "mm_hashes":["a"], "session_params":{"id":"s"} }`, `{  }`, "mm_hashes session_params"},
		{"Vertex", Other, `{"instances":[{"text":"x"}],"parameters":{"bootstrap_host":"h","sampling_params":{}}}`,
			`{"instances":[{"text":"x"}],"parameters":{"sampling_params":{}}}`, "bootstrap_host"},
		{"xargs", Chat, `{` + messages + `,"vllm_xargs":{"kv_cache_report_mode":"full","mine":1,"kv_transfer_params":"x"}}`,
			`{` + messages + `,"vllm_xargs":{"mine":1}}`, "kv_cache_report_mode kv_transfer_params"},
		{"only xargs", Chat, `{"vllm_xargs":{"kv_cache_report_mode":"full"},` + messages + `}`, `{"vllm_xargs":{},` + messages + `}`, "kv_cache_report_mode"},
		{"lists in xargs", Chat, `{` + messages + `,"vllm_xargs":{"a":[1,{"b":[[{"ec_transfer_params":{"kv_transfer_params":1}},2]]}]}}`,
			`{` + messages + `,"vllm_xargs":{"a":[1,{"b":[[{},2]]}]}}`, "ec_transfer_params"},
		{"xargs as a list", Chat, `{` + messages + `,"vllm_xargs":["x",{"kv_cache_report_mode":"full"}]}`,
			`{` + messages + `,"vllm_xargs":["x",{}]}`, "kv_cache_report_mode"},
		{"extra_args", Other, `{"text":"x","sampling_params":[{"n":1,"extra_args":{"kv_transfer_params":{},"k":2}},{"extra_args":{"kv_cache_report_mode":1}}]}`,
			`{"text":"x","sampling_params":[{"n":1,"extra_args":{"k":2}},{"extra_args":{}}]}`, "kv_transfer_params kv_cache_report_mode"},
		{"the key of an image", Chat, `{"messages":[{"role":"user","content":[{"type":"image_url","uuid":"u","image_url":null},{"uuid":"v","text":"x"}]}]}`,
			`{"messages":[{"role":"user","content":[{"type":"image_url","image_url":null},{"text":"x"}]}]}`, "uuid uuid"},
		{"the key of an image elsewhere", Other, `{"messages":[{"content":[{"type":"image_url","uuid":"u"},{"uuid":"v","video_url":{}},{"uuid":"w"}]}]}`,
			`{"messages":[{"content":[{"type":"image_url"},{"video_url":{}},{"uuid":"w"}]}]}`, "uuid uuid"},
		{"in a list", Other, `[{"type":"image_url","uuid":"u"},{"kv_transfer_params":1}]`, `[{"type":"image_url"},{"kv_transfer_params":1}]`, "uuid"},
		{"two places of one object", Other, `{"sampling_params":{"uuid":"u","kv_transfer_params":1,"image_url":2}}`,
			`{"sampling_params":{"image_url":2}}`, "uuid kv_transfer_params"},
		{"an address in the ID", Chat, `{"request_id":"___prefill_addr_h:1___decode_addr_h:2_0",` + messages + `}`, `{` + messages + `}`, "request_id"},
		{"an escaped address", Chat, `{"request_id":"___prefill\u005faddr_h:1",` + messages + `}`, `{` + messages + `}`, "request_id"},
		{"an ID", Chat, `{"request_id":"mine",` + messages + `}`, `{"request_id":"mine",` + messages + `}`, ""},
		// The names mean nothing to an engine here.
		{"arguments of a tool", Chat, `{"messages":[{"role":"user","content":"x","kv_transfer_params":1}],"tools":[{"function":{"parameters":{"properties":{"bootstrap_host":{},"uuid":{}}}}}]}`,
			`{"messages":[{"role":"user","content":"x","kv_transfer_params":1}],"tools":[{"function":{"parameters":{"properties":{"bootstrap_host":{},"uuid":{}}}}}]}`, ""},
		{"other places", Chat, `{` + messages + `,"kv_cache_report_mode":1,"uuid":"u","metadata":{"kv_transfer_params":"x"},"vllm_xargs":{"bootstrap_host":"h"}}`,
			`{` + messages + `,"kv_cache_report_mode":1,"uuid":"u","metadata":{"kv_transfer_params":"x"},"vllm_xargs":{"bootstrap_host":"h"}}`, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			var d Document
			got, members := without(t, &d, c.api, c.body, AllEngineMembers)
			if got != c.want || strings.Join(members, " ") != c.members {
				t.Errorf("got %s without %v, want %s without %s", got, members, c.want, c.members)
			}
			if empty := strings.Trim(got, "{ }") == ""; d.InsertAt > 0 && d.Empty != empty {
				t.Errorf("%s: Empty is %t", got, d.Empty)
			}
			if got, members := without(t, &d, c.api, c.body, 0); got != c.body || members != nil {
				t.Errorf("got %s without %v, but nothing was to be taken", got, members)
			}
		})
	}
}

func TestEngineMembersOfASet(t *testing.T) {
	var d Document
	set := EngineMembers(0)
	for m := range NumEngineMembers {
		if m.String() == "bootstrap_room" {
			set = set.With(m)
		}
		if enginePlaces[m] == 0 {
			t.Errorf("%v is nowhere", m)
		}
	}
	const body = `{"prompt":"x","bootstrap_host":"h","bootstrap_room":1}`
	if got, _ := without(t, &d, Completions, body, set); got != `{"prompt":"x","bootstrap_host":"h"}` {
		t.Errorf("got %s", got)
	}
	for m := range NumEngineMembers {
		if set.Without(m).Has(m) || !set.With(m).Has(m) {
			t.Errorf("%v: the set is wrong", m)
		}
	}
}

func TestTooManyEngineMembers(t *testing.T) {
	body := `{"prompt":"x","vllm_xargs":{"a":[` + strings.Repeat(`{"kv_transfer_params":1},`, maxTaken) + `{"kv_transfer_params":1}]}}`
	if err := new(Document).ParseWithout(Completions, []byte(body), AllEngineMembers); !errors.Is(err, errEngineMembers) {
		t.Errorf("got %v", err)
	}
}

// What is taken is not listed for the scrubber: nobody reads it.
func TestTakenIsNotListed(t *testing.T) {
	var d Document
	if err := d.ParseWithout(Chat, []byte(`{"kv_transfer_params":{"some key":"a@b.cc d"},"messages":[{"role":"user","content":"x"}]}`), AllEngineMembers); err != nil {
		t.Fatal(err)
	}
	if got := listed(&d); got != "user | x" && got != "x" {
		t.Errorf("listed %s", got)
	}
}

// The rendition of a body that has lost its engine members is that of a body
// which never had them, wherever an omitted neighbour stands.
func TestRenditionWithout(t *testing.T) {
	for _, part := range []string{
		`{"uuid":"u","cache_control":{},"type":"image_url","image_url":{"url":"https://h/i"}}`,
		`{"cache_control":{}, "uuid":"u", "type":"image_url","image_url":{"url":"https://h/i"}}`,
		`{"type":"image_url","cache_control":{} ,"uuid":"u","image_url":{"url":"https://h/i"}}`,
		`{"type":"image_url","uuid":"u" , "cache_control":{},"image_url":{"url":"https://h/i"}}`,
		`{"type":"image_url","image_url":{"url":"https://h/i"},"uuid":"u","cache_control":{}}`,
		`{"type":"image_url","image_url":{"url":"https://h/i"},"cache_control":{},"uuid":"u"}`,
	} {
		body := func(part string) string {
			return `{"kv_transfer_params":{},"messages":[{"role":"user","content":["a",` + part + `,"b"]}]}`
		}
		var d Document
		clean, _ := without(t, &d, Chat, body(part), AllEngineMembers)
		got := rendered(&d)
		if want := rendered(parsed(t, Chat, clean)); got != want {
			t.Errorf("%s\n%s\nrendered\n%s\nwant\n%s", part, clean, got, want)
		}
	}
}

// goldenWithout is the slow model: it takes the members out of a decoded body.
func goldenWithout(api API, v any) any {
	top, ok := v.(map[string]any)
	if !ok {
		return v
	}
	remove := func(o map[string]any, at place) {
		for m := range NumEngineMembers {
			where := enginePlaces[m] & at
			s, isString := o[m.String()].(string)
			if where != 0 && (where != placeID || isString && strings.Contains(s, AddressMark)) {
				delete(o, m.String())
			}
		}
	}
	remove(top, placeTop|placeID)
	if p, ok := top["parameters"].(map[string]any); ok {
		remove(p, placeTop)
	}
	var below func(v any)
	below = func(v any) {
		switch v := v.(type) {
		case []any:
			for _, e := range v {
				below(e)
			}
		case map[string]any:
			remove(v, placeArgs)
			for _, e := range v {
				below(e)
			}
		}
	}
	below(top["vllm_xargs"])
	below(top["sampling_params"])
	return v
}

func checkWithout(t *testing.T, api API, body []byte) {
	t.Helper()
	var d, plain Document
	err := d.ParseWithout(api, body, AllEngineMembers)
	if plainErr := plain.Parse(api, body); plainErr != nil || errors.Is(err, errEngineMembers) {
		if err == nil {
			t.Fatalf("%v %s is refused only as it is: %v", api, body, plainErr)
		}
		return
	}
	if err != nil {
		t.Fatalf("%v %s is refused with %v", api, body, err)
	}
	for _, x := range d.Texts {
		for _, m := range d.Taken {
			if x.Start < m.End && m.Start < x.End {
				t.Fatalf("%v %s: the text at %d is taken", api, body, x.Start)
			}
		}
	}
	got, _ := without(t, &d, api, string(body), AllEngineMembers)
	var have, want any
	if err := json.Unmarshal([]byte(got), &have); err != nil {
		t.Fatalf("%v %s became %s", api, body, got)
	}
	if !bytes.Contains(body, []byte("u")) || len(d.Taken) == 0 { // "uuid" cannot be there
		_ = json.Unmarshal(body, &want)
		if want = goldenWithout(api, want); !reflect.DeepEqual(have, want) {
			t.Fatalf("%v %s became %s", api, body, got)
		}
	}
	again, more := without(t, &plain, api, got, AllEngineMembers)
	if len(more) > 0 || again != got {
		t.Fatalf("%v %s became %s and then %s", api, body, got, again)
	}
	if a, b := rendered(&d), rendered(&plain); a != b {
		t.Fatalf("%v %s rendered\n%s\nand cleaned\n%s", api, body, a, b)
	}
}

// randomArgs returns a value with engine members in it.
func randomArgs(r *rand.Rand, depth int) any {
	switch k := r.IntN(6); {
	case k < 3 && depth > 0:
		o, used := free{}, map[string]bool{}
		for range r.IntN(5) {
			key := [...]string{"kv_transfer_params", "ec_transfer_params", "kv_cache_report_mode", "a", "bootstrap_host", "image_url", "extra_args"}[r.IntN(7)]
			if !used[key] {
				o = append(o, member{key, randomArgs(r, depth-1)})
			}
			used[key] = true
		}
		return o
	case k == 3 && depth > 0:
		return list{randomArgs(r, depth-1), randomArgs(r, depth-1)}
	}
	return atom([...]string{"1", "null", `"x"`, "[]", "{}", "[1,2]"}[r.IntN(6)])
}

func TestWithoutAgreesWithTheModel(t *testing.T) {
	r := rand.New(rand.NewPCG(41, 42))
	rounds := 10_000
	if testing.Short() {
		rounds = 2000
	}
	taken := 0
	for range rounds {
		body := free{{"messages", list{free{{"role", "user"}, {"content", list{randomBody(r, 2)}}}}}, {"input", "x"}, {"prompt", "y"}}
		used := map[string]bool{}
		for range r.IntN(6) {
			key := words[r.IntN(len(words))]
			if r.IntN(2) == 0 {
				key = [...]string{"vllm_xargs", "sampling_params", "parameters", "kv_transfer_params", "request_id"}[r.IntN(5)]
			}
			if used[key] || strings.Contains("messages input prompt", key) {
				continue
			}
			used[key] = true
			body = slices.Insert(body, r.IntN(len(body)+1), member{key, randomArgs(r, 4)})
		}
		var b strings.Builder
		write(r, &b, body)
		api := API(r.IntN(int(NumAPIs)))
		checkWithout(t, api, []byte(b.String()))
		var d Document
		if d.ParseWithout(api, []byte(b.String()), AllEngineMembers) == nil {
			taken += len(d.Taken)
		}
	}
	if taken < rounds/2 {
		t.Errorf("only %d members were taken; the generator must make more", taken)
	}
}

func FuzzWithout(f *testing.F) {
	for i, s := range []string{
		`{"messages":[{"role":"user","content":[{"uuid":"u","type":"image_url","image_url":null}]}],"kv_transfer_params":{"a":[{}]}}`,
		`{"\u006bv_transfer_params":1,"prompt":"x","vllm_xargs":{"kv_cache_report_mode":"full"}}`,
		`{"parameters":{"bootstrap_host":"h"},"sampling_params":[{"extra_args":{"ec_transfer_params":1}}],"request_id":"_addr_"}`,
		`[{"uuid":"u","image_url":1}]`,
	} {
		for api := range NumAPIs {
			f.Add(uint8(api)+uint8(i), []byte(s))
		}
	}
	f.Fuzz(func(t *testing.T, api uint8, body []byte) { checkWithout(t, API(api)%NumAPIs, body) })
}
