// SPDX-License-Identifier: Apache-2.0

package lmcache

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// The files in testdata are answers of LMCache 0.5.6 with vLLM 0.32.0 on CPU, as
// recorded but for the paths of model and cache. The coordinator was told of two object
// groups by events; no engine on CPU makes them.

// recorded returns a recorded answer.
func recorded(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// requestID returns the ID in a recorded answer.
func requestID(t *testing.T, name string) string {
	t.Helper()
	var answer struct {
		ID string `json:"request_id"`
	}
	if err := json.Unmarshal([]byte(recorded(t, name)), &answer); err != nil || answer.ID == "" {
		t.Fatalf("%s: %v", name, err)
	}
	return answer.ID
}

func TestRecordedNode(t *testing.T) {
	w := &wire{answers: map[string]reply{
		"GET http://a:8080/status":            {status: 200, body: recorded(t, "status.no_engine.json")},
		"POST http://a:8080/cache/prefetches": {status: 503, body: recorded(t, "node.no_layout.503.json")},
	}}
	n := newTestNode(t, w)
	p := &Prefix{Model: "tiny", Tokens: count(1053)}
	if _, err := n.Submit(t.Context(), "a:8000", p); err != ErrNoLayout {
		t.Errorf("without an engine: %v", err)
	}
	w.answers["GET http://a:8080/status"] = reply{status: 200, body: recorded(t, "status.engine_driven.json")}
	w.answers["POST http://a:8080/cache/prefetches"] = reply{status: 202, body: recorded(t, "node.submitted.202.json")}
	id := requestID(t, "node.submitted.202.json")
	w.answers["GET http://a:8080/cache/prefetches/"+id] = reply{status: 200, body: recorded(t, "node.completed.json")}
	j, err := n.Submit(t.Context(), "a:8000", p)
	if err != nil || j != (Job{ID: id, Chunks: 16, ChunkTokens: 64}) {
		t.Fatalf("%+v, %v", j, err)
	}
	const order = `POST http://a:8080/cache/prefetches {"model_name":"/models/tiny","world_size":1,"token_ids":[0,1,`
	if last := w.sent[len(w.sent)-1]; !strings.HasPrefix(last, order) {
		t.Errorf("sent %.120s", last)
	}
	if p, err := n.Poll(t.Context(), "a:8000", j); err != nil || p != (Progress{Done: true, Found: 16, Total: 16}) {
		t.Errorf("%+v, %v", p, err)
	}
}

func TestRecordedCoordinator(t *testing.T) {
	id := requestID(t, "coordinator.submitted.json")
	w := &wire{answers: map[string]reply{
		"GET http://c:9300/instances":                  {status: 200, body: recorded(t, "instances.json")},
		"GET http://127.0.0.1:18933/status":            {status: 200, body: recorded(t, "status.no_engine.json")},
		"POST http://c:9300/cache/prefetches":          {status: 502, body: recorded(t, "coordinator.no_layout.502.json")},
		"GET http://c:9300/cache/prefetches/lm1/" + id: {status: 200, body: recorded(t, "coordinator.completed.json")},
		"POST http://c:9300/directory/lookup":          {status: 200, body: recorded(t, "directory.one_group.json")},
	}}
	c := NewCoordinator(CoordinatorOptions{Base: mustURL(t, "http://c:9300"), Transport: w})
	p := &Prefix{Model: "tiny", Tokens: count(1053)}
	if _, err := c.Submit(t.Context(), "127.0.0.1:8000", p); err != ErrNoLayout {
		t.Errorf("without an engine: %v", err)
	}
	w.answers["GET http://127.0.0.1:18933/status"] = reply{status: 200, body: recorded(t, "status.engine_driven.json")}
	w.answers["POST http://c:9300/cache/prefetches"] = reply{status: 200, body: recorded(t, "coordinator.submitted.json")}
	j, err := c.Submit(t.Context(), "127.0.0.1:8000", p)
	if err != nil || j != (Job{ID: id, Node: "lm1", Chunks: 16, ChunkTokens: 64}) {
		t.Fatalf("%+v, %v", j, err)
	}
	if p, err := c.Poll(t.Context(), "127.0.0.1:8000", j); err != nil || p != (Progress{Done: true, Found: 16, Total: 16}) {
		t.Errorf("%+v, %v", p, err)
	}
	for answer, want := range map[string][]Holding{
		"directory.one_group.json": {{Upstream: "127.0.0.1:8000", Memory: 1024, Storage: 1024, Whole: true}},
		"directory.empty.json":     {{Upstream: "127.0.0.1:8000"}},
	} {
		w.answers["POST http://c:9300/directory/lookup"] = reply{status: 200, body: recorded(t, answer)}
		if got, err := c.Lookup(t.Context(), p, []string{"127.0.0.1:8000"}); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, %v", answer, got, err)
		}
	}
}

// TestRecordedObjectGroups: a model with a full-attention and a sliding-window group,
// over two ranks. The first node has two chunks of the one in CPU memory, all three on
// disk, and the last ones of the other. The second node has nothing of the other.
func TestRecordedObjectGroups(t *testing.T) {
	got, err := readDirectory(strings.NewReader(recorded(t, "directory.two_groups.json")), 2)
	if want := map[string]extent{"hy1": {memory: 2, all: 3}}; err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v, want %+v", got, err, want)
	}
}
