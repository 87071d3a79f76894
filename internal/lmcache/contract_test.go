// SPDX-License-Identifier: Apache-2.0

package lmcache

import (
	"context"
	"errors"
	"net/url"
	"reflect"
	"strings"
	"syscall"
	"testing"
)

// The tests in this file compare every byte that is sent, and every answer that is
// accepted, with LMCache's two APIs as its documentation and source define them.

const nodeStatusAnswer = `{"is_healthy":true,"engine_type":"MPCacheServer","chunk_size":256,"hash_algorithm":"blake3",` +
	`"registered_gpu_ids":[0],"cache_context_meta":{"0":{"model_name":"Qwen/Qwen3-8B","world_size":2,"kv_cache_layout":{}}},` +
	`"active_sessions":0,"active_prefetch_jobs":0}`

func newTestNode(t *testing.T, w *wire) *Node {
	return NewNode(NodeOptions{Transport: w, Base: func(upstream string) *url.URL {
		if upstream == "unknown:8000" {
			return nil
		}
		return mustURL(t, "http://"+strings.Replace(upstream, ":8000", ":8080", 1))
	}})
}

func TestNodeContract(t *testing.T) {
	w := &wire{answers: map[string]reply{
		"GET http://a:8080/status":               {status: 200, body: nodeStatusAnswer},
		"POST http://a:8080/cache/prefetches":    {status: 202, body: `{"request_id":"abc","chunks":12,"status":"submitted"}`},
		"GET http://a:8080/cache/prefetches/abc": {status: 200, body: `{"request_id":"abc","status":"pending"}`},
	}}
	n := newTestNode(t, w)
	p := &Prefix{Model: "Qwen/Qwen3-8B", Tokens: count(3100)}
	short := &Prefix{Model: "Qwen/Qwen3-8B", Salt: "tenant", Tokens: []uint32{1, 22, 4294967295}}

	j, err := n.Submit(t.Context(), "a:8000", p)
	if err != nil || j != (Job{ID: "abc", Chunks: 12, ChunkTokens: 256}) {
		t.Fatalf("%+v, %v", j, err)
	}
	w.mu.Lock()
	head := `POST http://a:8080/cache/prefetches {"model_name":"Qwen/Qwen3-8B","world_size":2,"token_ids":[0,1,2,3,`
	if len(w.sent) != 2 || w.sent[0] != "GET http://a:8080/status" || !strings.HasPrefix(w.sent[1], head) {
		t.Errorf("sent %.200q", w.sent)
	}
	w.sent = nil
	w.mu.Unlock()

	if p, err := n.Poll(t.Context(), "a:8000", j); err != nil || p != (Progress{}) {
		t.Errorf("%+v, %v", p, err)
	}
	w.expect(t, "GET http://a:8080/cache/prefetches/abc")
	w.answers["GET http://a:8080/cache/prefetches/abc"] = reply{status: 200, body: `{"request_id":"abc","status":"completed","found_keys":12,"total_keys":12}`}
	if p, err := n.Poll(t.Context(), "a:8000", j); err != nil || p != (Progress{Done: true, Found: 12, Total: 12}) {
		t.Errorf("%+v, %v", p, err)
	}
	w.expect(t, "GET http://a:8080/cache/prefetches/abc")
	delete(w.answers, "GET http://a:8080/cache/prefetches/abc")
	if _, err := n.Poll(t.Context(), "a:8000", j); err != ErrNotFound {
		t.Errorf("a job whose end was reported before: %v", err)
	}
	w.expect(t, "GET http://a:8080/cache/prefetches/abc")

	// A prefix shorter than a chunk. The status is known by now.
	w.answers["POST http://a:8080/cache/prefetches"] = reply{status: 202, body: `{"chunks":0,"status":"noop"}`}
	if j, err := n.Submit(t.Context(), "a:8000", short); err != nil || j != (Job{ChunkTokens: 256}) {
		t.Errorf("%+v, %v", j, err)
	}
	w.expect(t, `POST http://a:8080/cache/prefetches {"model_name":"Qwen/Qwen3-8B","world_size":2,"token_ids":[1,22,4294967295],"cache_salt":"tenant","source_tier":"l2","target_tier":"l1"}`)

	for status, want := range map[int]error{
		400: ErrRefused, 404: ErrNotFound, 409: ErrNoLayout, 422: ErrRefused, 500: ErrServer, 503: ErrNoLayout, 307: ErrRefused,
	} {
		w.answers["POST http://a:8080/cache/prefetches"] = reply{status: status, body: `{"detail":"no layout registered"}`}
		if _, err := n.Submit(t.Context(), "a:8000", short); err != want {
			t.Errorf("%d: %v, want %v", status, err, want)
		}
	}
	if _, err := n.Submit(t.Context(), "unknown:8000", short); err != ErrUnmapped {
		t.Error(err)
	}
	if _, err := n.Lookup(t.Context(), short, nil); err != ErrUnsupported {
		t.Error(err)
	}
}

// TestNodeOlderStatus: older versions have the status at another path, and another
// name for the list of engines.
func TestNodeOlderStatus(t *testing.T) {
	w := &wire{answers: map[string]reply{
		"GET http://a:8080/api/status": {status: 200, body: `{"is_healthy":true,"engine_type":"MPCacheEngine","chunk_size":128,` +
			`"hash_algorithm":"builtin","registered_gpu_ids":[0,1],"gpu_context_meta":{"0":{"model_name":"/models/qwen","world_size":4},"1":{"model_name":"/models/qwen","world_size":4}}}`},
		"POST http://a:8080/cache/prefetches": {status: 202, body: `{"request_id":"x-1","chunks":1,"status":"submitted"}`},
	}}
	n := newTestNode(t, w)
	j, err := n.Submit(t.Context(), "a:8000", &Prefix{Model: "qwen", Tokens: count(3)})
	if err != nil || j != (Job{ID: "x-1", Chunks: 1, ChunkTokens: 128}) {
		t.Fatalf("%+v, %v", j, err)
	}
	w.expect(t, "GET http://a:8080/status", "GET http://a:8080/api/status",
		`POST http://a:8080/cache/prefetches {"model_name":"/models/qwen","world_size":4,"token_ids":[0,1,2],"cache_salt":"","source_tier":"l2","target_tier":"l1"}`)
}

// TestNodeEngineDriven: an engine on another device than CUDA moves its blocks itself,
// and LMCache lists it apart. Its model has the name that the engine was started with.
func TestNodeEngineDriven(t *testing.T) {
	const head = `{"is_healthy":true,"engine_type":"MPCacheServer","chunk_size":64,"hash_algorithm":"blake3","active_sessions":0,`
	w := &wire{answers: map[string]reply{
		"GET http://a:8080/status":            {status: 200, body: head + `"registered_gpu_ids":[],"cache_context_meta":{},"registered_non_cuda_instance_ids":[],"non_cuda_context_meta":{}}`},
		"POST http://a:8080/cache/prefetches": {status: 503, body: `{"detail":"no layout registered for model_name='qwen' world_size=1; the model has not allocated KV cache on this node yet"}`},
	}}
	n := newTestNode(t, w)
	prompt := &Prefix{Model: "qwen", Tokens: count(3)}
	if _, err := n.Submit(t.Context(), "a:8000", prompt); err != ErrNoLayout {
		t.Fatal(err)
	}
	w.sent = nil

	// The engine has started. A status from before it says nothing any more.
	w.answers["GET http://a:8080/status"] = reply{status: 200, body: head + `"registered_gpu_ids":[],"cache_context_meta":{},"registered_non_cuda_instance_ids":[7219],` +
		`"non_cuda_context_meta":{"7219":{"model_name":"/models/qwen","world_size":2,"block_size":32,"use_mla":false}},"active_prefetch_jobs":0}`}
	w.answers["POST http://a:8080/cache/prefetches"] = reply{status: 202, body: `{"request_id":"x-1","chunks":1,"status":"submitted"}`}
	j, err := n.Submit(t.Context(), "a:8000", prompt)
	if err != nil || j != (Job{ID: "x-1", Chunks: 1, ChunkTokens: 64}) {
		t.Errorf("%+v, %v", j, err)
	}
	w.expect(t, "GET http://a:8080/status",
		`POST http://a:8080/cache/prefetches {"model_name":"/models/qwen","world_size":2,"token_ids":[0,1,2],"cache_salt":"","source_tier":"l2","target_tier":"l1"}`)
}

// TestNodeWithoutStatus: the defaults are used, and a status that failed is not asked
// for each time.
func TestNodeWithoutStatus(t *testing.T) {
	w := &wire{answers: map[string]reply{
		"GET http://a:8080/status":            {status: 500},
		"POST http://a:8080/cache/prefetches": {status: 202, body: `{"chunks":0,"status":"noop"}`},
	}}
	n := newTestNode(t, w)
	const order = `POST http://a:8080/cache/prefetches {"model_name":"m","world_size":1,"token_ids":[0],"cache_salt":"","source_tier":"l2","target_tier":"l1"}`
	for range 2 {
		if _, err := n.Submit(t.Context(), "a:8000", &Prefix{Model: "m", Tokens: count(1)}); err != nil {
			t.Fatal(err)
		}
	}
	w.expect(t, "GET http://a:8080/status", order, order)
}

const instancesAnswer = `{"instances":[` +
	`{"instance_id":"mp-1","ip":"10.0.0.1","http_port":8080,"registration_time":1790000000.5,"metadata":{},"p2p_advertised_url":"","mq_port":0},` +
	`{"instance_id":"mp/2","ip":"10.0.0.2","http_port":8080,"registration_time":1790000000.5,"metadata":{},"p2p_advertised_url":"","mq_port":0},` +
	`{"instance_id":"mp-3","ip":"10.0.0.3","http_port":8080,"registration_time":1790000000.5,"metadata":{},"p2p_advertised_url":"","mq_port":0},` +
	`{"instance_id":"mp-4","ip":"10.0.0.3","http_port":8081,"registration_time":1790000000.5,"metadata":{},"p2p_advertised_url":"","mq_port":0}]}`

// newTestCoordinator returns a Coordinator whose first two nodes keep the model m on
// two ranks.
func newTestCoordinator(t *testing.T, w *wire) *Coordinator {
	status := reply{status: 200, body: strings.Replace(nodeStatusAnswer, "Qwen/Qwen3-8B", "m", 1)}
	w.answers["GET http://10.0.0.1:8080/status"], w.answers["GET http://node-b:8080/status"] = status, status
	return NewCoordinator(CoordinatorOptions{
		Base: mustURL(t, "http://c:9300"), Transport: w,
		Resolve: func(_ context.Context, host string) ([]string, error) {
			if host == "node-b" {
				return []string{"::ffff:10.0.0.2"}, nil
			}
			return nil, errors.New("no such host")
		},
	})
}

func TestCoordinatorContract(t *testing.T) {
	w := &wire{answers: map[string]reply{
		"GET http://c:9300/instances":                   {status: 200, body: instancesAnswer},
		"POST http://c:9300/cache/prefetches":           {status: 200, body: `{"instance_id":"mp/2","request_id":"abc","chunks":2,"status":"submitted"}`},
		"GET http://c:9300/cache/prefetches/mp%2F2/abc": {status: 200, body: `{"request_id":"abc","status":"completed","found_keys":3,"total_keys":4}`},
		"POST http://c:9300/directory/lookup":           {status: 200, body: `{"chunks":0,"results":[]}`},
	}}
	c := newTestCoordinator(t, w)
	p := &Prefix{Model: "m", Salt: "s", Tokens: []uint32{7, 8, 9}}
	j, err := c.Submit(t.Context(), "node-b:8000", p)
	if err != nil || j != (Job{ID: "abc", Node: "mp/2", Chunks: 2, ChunkTokens: 256}) {
		t.Fatalf("%+v, %v", j, err)
	}
	const order = `{"instance_id":"mp/2","model_name":"m","world_size":2,"token_ids":[7,8,9],"cache_salt":"s","source_tier":"l2","target_tier":"l1"}`
	w.expect(t, "GET http://c:9300/instances", "GET http://node-b:8080/status", "POST http://c:9300/cache/prefetches "+order)
	if p, err := c.Poll(t.Context(), "node-b:8000", j); err != nil || p != (Progress{Done: true, Found: 3, Total: 4}) {
		t.Errorf("%+v, %v", p, err)
	}
	w.expect(t, "GET http://c:9300/cache/prefetches/mp%2F2/abc")

	// Nothing to do: an empty id.
	w.answers["POST http://c:9300/cache/prefetches"] = reply{status: 200, body: `{"instance_id":"mp/2","request_id":"","chunks":0,"status":"noop"}`}
	if j, err := c.Submit(t.Context(), "node-b:8000", p); err != nil || j.ID != "" {
		t.Errorf("%+v, %v", j, err)
	}
	w.expect(t, "POST http://c:9300/cache/prefetches "+order)

	if found, err := c.Lookup(t.Context(), p, []string{"node-b:8000"}); err != nil || !reflect.DeepEqual(found, []Holding{{"node-b:8000", 0, 0, true}}) {
		t.Errorf("%+v, %v", found, err)
	}
	w.expect(t, `POST http://c:9300/directory/lookup {"token_ids":[7,8,9],"model_name":"m","world_size":2,"cache_salt":"s"}`)

	// Either of two nodes on one host may be meant.
	if _, err := c.Submit(t.Context(), "10.0.0.3:8000", p); err != ErrUnmapped {
		t.Errorf("an ambiguous host: %v", err)
	}
	w.expect(t, "GET http://c:9300/instances")
	w.answers["POST http://c:9300/cache/prefetches"] = reply{status: 200, body: `{"instance_id":"mp-4","request_id":"d","chunks":1,"status":"submitted"}`}
	// The answer is about another node.
	if _, err := c.Submit(t.Context(), "10.0.0.1:8000", p); err != ErrAnswer {
		t.Error(err)
	}
	for status, want := range map[int]error{404: ErrNotFound, 422: ErrRefused, 502: ErrServer} {
		w.answers["POST http://c:9300/cache/prefetches"] = reply{status: status, body: `{"detail":"x"}`}
		if _, err := c.Submit(t.Context(), "10.0.0.1:8000", p); err != want {
			t.Errorf("%d: %v, want %v", status, err, want)
		}
	}
	w.answers["POST http://c:9300/cache/prefetches"] = reply{err: syscall.ECONNREFUSED}
	if _, err := c.Submit(t.Context(), "10.0.0.1:8000", p); err != ErrUnreachable {
		t.Error(err)
	}
}

// TestCoordinatorReportsNodesRefusal: what a node refuses comes as 502, with the node's
// status in the text. It is not the coordinator's failure.
func TestCoordinatorReportsNodesRefusal(t *testing.T) {
	w := &wire{answers: map[string]reply{"GET http://c:9300/instances": {status: 200, body: instancesAnswer}}}
	c := newTestCoordinator(t, w)
	refusal := func(kind, status string) string {
		return `{"detail":"prefetch submit to 'mp-1' failed: ` + kind + ` '` + status + `' for url 'http://10.0.0.1:8080/cache/prefetches'\nFor more information check: https://developer.mozilla.org/"}`
	}
	for _, a := range []struct {
		status int
		body   string
		want   error
	}{
		{502, refusal("Server error", "503 Service Unavailable"), ErrNoLayout},
		{502, refusal("Client error", "409 Conflict"), ErrNoLayout},
		{502, refusal("Client error", "404 Not Found"), ErrNotFound},
		{502, refusal("Client error", "400 Bad Request"), ErrRefused},
		{502, refusal("Server error", "500 Internal Server Error"), ErrServer},
		{502, `{"detail":"prefetch submit to 'mp-1' failed: All connection attempts failed"}`, ErrServer},
		{502, `{"detail":"x"}`, ErrServer}, {502, `{"detail":" error '503 "}`, ErrServer}, {502, "", ErrServer},
		{503, refusal("Server error", "503 Service Unavailable"), ErrServer}, // the coordinator's own
	} {
		w.answers["POST http://c:9300/cache/prefetches"] = reply{status: a.status, body: a.body}
		if _, err := c.Submit(t.Context(), "10.0.0.1:8000", &Prefix{Model: "m", Tokens: count(3)}); err != a.want {
			t.Errorf("%d %s: %v, want %v", a.status, a.body, err, a.want)
		}
	}
}

// TestCoordinatorAsksNodesForFormat: only the nodes know a model's name there, its
// ranks and the chunk size. Without them nothing is found and nothing staged.
func TestCoordinatorAsksNodesForFormat(t *testing.T) {
	key := `{"key":{"chunk_hash_hex":"aa","model_name":"Qwen/Qwen3-8B","kv_rank":0,"cache_salt":""},"placements":[` +
		`{"instance_id":"mp-1","incarnation":3,"tier":"l2","backend":"fs","size_bytes":4096,"shared":false}],"token_ids":[]}`
	w := &wire{answers: map[string]reply{
		"GET http://c:9300/instances":         {status: 200, body: instancesAnswer},
		"GET http://10.0.0.1:8080/status":     {status: 200, body: strings.Replace(nodeStatusAnswer, `"chunk_size":256`, `"chunk_size":128`, 1)},
		"POST http://c:9300/cache/prefetches": {status: 200, body: `{"instance_id":"mp-1","request_id":"abc","chunks":1,"status":"submitted"}`},
		"POST http://c:9300/directory/lookup": {status: 200, body: `{"chunks":1,"results":[` + key + `,` + strings.Replace(key, `"kv_rank":0`, `"kv_rank":1`, 1) + `]}`},
	}}
	c := NewCoordinator(CoordinatorOptions{
		Base: mustURL(t, "http://c:9300"), Transport: w,
		Resolve: func(context.Context, string) ([]string, error) { return nil, errors.New("no such host") },
	})
	p := &Prefix{Model: "qwen", Tokens: []uint32{7, 8, 9}}
	j, err := c.Submit(t.Context(), "10.0.0.1:8000", p)
	if err != nil || j != (Job{ID: "abc", Node: "mp-1", Chunks: 1, ChunkTokens: 128}) {
		t.Fatalf("%+v, %v", j, err)
	}
	w.expect(t, "GET http://c:9300/instances", "GET http://10.0.0.1:8080/status",
		`POST http://c:9300/cache/prefetches {"instance_id":"mp-1","model_name":"Qwen/Qwen3-8B","world_size":2,"token_ids":[7,8,9],"cache_salt":"","source_tier":"l2","target_tier":"l1"}`)
	p.Tokens = count(200)
	found, err := c.Lookup(t.Context(), p, []string{"nowhere:1", "10.0.0.1:8000"})
	if want := []Holding{{"10.0.0.1:8000", 0, 128, true}}; err != nil || !reflect.DeepEqual(found, want) {
		t.Errorf("%+v, %v", found, err)
	}
	if last := w.sent[len(w.sent)-1]; !strings.HasSuffix(last, `],"model_name":"Qwen/Qwen3-8B","world_size":2,"cache_salt":""}`) {
		t.Errorf("asked %.300s", last)
	}

	// Of nodes that do not answer only a few are asked.
	delete(w.answers, "GET http://10.0.0.1:8080/status")
	w.answers["GET http://c:9300/instances"] = reply{status: 200, body: strings.Replace(instancesAnswer, `"10.0.0.3","http_port":8081`, `"10.0.0.4","http_port":8080`, 1)}
	w.answers["POST http://c:9300/directory/lookup"] = reply{status: 200, body: `{"chunks":0,"results":[]}`}
	c = NewCoordinator(CoordinatorOptions{Base: mustURL(t, "http://c:9300"), Transport: w})
	w.sent = nil
	if _, err := c.Lookup(t.Context(), p, []string{"10.0.0.1:8000", "10.0.0.2:8000", "10.0.0.3:8000", "10.0.0.4:8000"}); err != nil {
		t.Fatal(err)
	}
	asked := 0
	for _, sent := range w.sent {
		if strings.HasSuffix(sent, ":8080/status") {
			asked++
		}
	}
	if asked != maxFormatQueries {
		t.Errorf("%d nodes were asked for their status: %q", asked, w.sent)
	}
}

func TestCoordinatorLookup(t *testing.T) {
	key := func(hash string, rank string, places string) string {
		return `{"key":{"chunk_hash_hex":"` + hash + `","model_name":"m","kv_rank":` + rank + `,"cache_salt":""},"placements":[` + places + `],"token_ids":[1,2,3]}`
	}
	place := func(node, tier string) string {
		return `{"instance_id":"` + node + `","incarnation":3,"tier":"` + tier + `","backend":"local","size_bytes":4096,"shared":false}`
	}
	both := place("mp-1", "l1") + "," + place("mp-1", "l2") + "," + place("mp/2", "l2")
	w := &wire{answers: map[string]reply{
		"GET http://c:9300/instances": {status: 200, body: instancesAnswer},
		"POST http://c:9300/directory/lookup": {status: 200, body: `{"chunks":3,"results":[` + strings.Join([]string{
			key("aa", "0", both), key("aa", "1", both),
			key("bb", "0", place("mp-1", "l2")+","+place("mp/2", "l2")), key("bb", "1", place("mp-1", "l2")),
			key("cc", "0", place("mp-1", "l2")), key("cc", "1", place("mp-1", "l2")),
		}, ",") + `]}`},
	}}
	c := newTestCoordinator(t, w)
	got, err := c.Lookup(t.Context(), &Prefix{Model: "m", Tokens: count(800)}, []string{"10.0.0.1:8000", "node-b:8000", "nowhere:1", "10.0.0.3:8001"}) // the last two have no node, or two
	want := []Holding{{"10.0.0.1:8000", 256, 768, true}, {"node-b:8000", 0, 256, false}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
}

// TestLongPrefix: a prefix that is too long for LMCache is cut.
func TestLongPrefix(t *testing.T) {
	w := &wire{answers: map[string]reply{"POST http://a:8080/cache/prefetches": {status: 202, body: `{"request_id":"a","chunks":3906,"status":"submitted"}`}}}
	n := newTestNode(t, w)
	if _, err := n.Submit(t.Context(), "a:8000", &Prefix{Model: "m", Tokens: count(MaxTokens + 7)}); err != nil {
		t.Fatal(err)
	}
	last := w.sent[len(w.sent)-1]
	if !strings.Contains(last, `,999999],"cache_salt"`) {
		t.Errorf("sent ...%s", last[len(last)-100:])
	}
}

// TestErrorsQuoteNothing: errors quote neither requests nor answers. Redirects are not
// followed.
func TestErrorsQuoteNothing(t *testing.T) {
	const secret = "the-secret"
	w := &wire{answers: map[string]reply{"GET http://a:8080/status": {status: 200, body: nodeStatusAnswer}}}
	n := newTestNode(t, w)
	for _, a := range []reply{
		{status: 200, body: secret}, {status: 500, body: secret}, {status: 302, body: secret}, {err: errors.New(secret)},
		{status: 202, body: `{"request_id":"` + secret + `","chunks":"` + secret + `"}`},
		{status: 202, body: `{"request_id":"../` + secret + ` ","chunks":1,"status":"submitted"}`},
		{status: 202, body: strings.Repeat(" ", maxAnswer+1) + `{"chunks":0,"status":"noop"}`},
	} {
		w.answers["POST http://a:8080/cache/prefetches"] = a
		_, err := n.Submit(t.Context(), "a:8000", &Prefix{Model: secret, Salt: secret, Tokens: count(3)})
		if err == nil || strings.Contains(err.Error(), secret) {
			t.Errorf("%.60q: %v", a.body, err)
		}
	}
	if len(w.sent) != 8 {
		t.Errorf("%d requests were sent for 7 orders and a status", len(w.sent))
	}
}
