// SPDX-License-Identifier: Apache-2.0

package lmcache

import (
	"encoding/json"
	"math/rand/v2"
	"strings"
	"testing"
)

func TestSubmittedIsChecked(t *testing.T) {
	for body, want := range map[string]bool{
		`{"request_id":"a","chunks":1,"status":"submitted"}`:                                    true,
		`{"request_id":"a","chunks":1,"status":"submitted","x":1}`:                              true,
		`{"chunks":0,"status":"noop"}`:                                                          true,
		`{"request_id":"a","chunks":0,"status":"submitted"}`:                                    false,
		`{"request_id":"a","chunks":-1,"status":"submitted"}`:                                   false,
		`{"request_id":"a","chunks":101,"status":"submitted"}`:                                  false, // more than tokens
		`{"request_id":"a","chunks":9e99,"status":"submitted"}`:                                 false,
		`{"request_id":"","chunks":1,"status":"submitted"}`:                                     false,
		`{"request_id":"..","chunks":1,"status":"submitted"}`:                                   false,
		`{"request_id":"a b","chunks":1,"status":"submitted"}`:                                  false,
		`{"request_id":"a","chunks":1,"status":"done"}`:                                         false,
		`{"request_id":"a","status":"submitted"}`:                                               false,
		`{"request_id":1,"chunks":1,"status":"submitted"}`:                                      false,
		`{"request_id":"` + strings.Repeat("a", maxID+1) + `","chunks":1,"status":"submitted"}`: false,
		`[]`: false, `null`: false, ``: false, `{"chunks":0,"status":"noop"}}`: false,
	} {
		if _, err := readSubmitted(strings.NewReader(body), 100); (err == nil) != want {
			t.Errorf("%.80s: %v", body, err)
		}
	}
}

func TestProgressIsChecked(t *testing.T) {
	for body, want := range map[string]bool{
		`{"request_id":"a","status":"pending"}`:                                   true,
		`{"request_id":"a","status":"completed","found_keys":0,"total_keys":0}`:   true,
		`{"request_id":"a","status":"completed","found_keys":13,"total_keys":12}`: false,
		`{"request_id":"a","status":"completed","found_keys":-1,"total_keys":12}`: false,
		`{"request_id":"a","status":"completed","found_keys":1}`:                  false,
		`{"request_id":"a","status":"completed"}`:                                 false,
		`{"request_id":"b","status":"pending"}`:                                   false,
		`{"status":"pending"}`:                                                    false,
		`{"request_id":"a","status":"failed"}`:                                    false,
		`{"request_id":"a"`:                                                       false,
	} {
		if _, err := readProgress(strings.NewReader(body), "a"); (err == nil) != want {
			t.Errorf("%s: %v", body, err)
		}
	}
}

func TestStatusModel(t *testing.T) {
	s, err := readStatus(strings.NewReader(`{"chunk_size":512,"cache_context_meta":{"0":{"model_name":"a","world_size":2},"1":{"model_name":"b","world_size":8},"2":{"model_name":"c","world_size":-1}}}`))
	if err != nil || s.chunkTokens != 512 {
		t.Fatal(s, err)
	}
	for name, want := range map[string]int{"a": 2, "b": 8, "c": 1, "d": 1} {
		if model, world := s.model(name); model != name || world != want {
			t.Errorf("%s: %s, %d", name, model, world)
		}
	}
	for _, body := range []string{`{}`, `{"chunk_size":0}`, `{"chunk_size":1e7}`, `{"chunk_size":"256"}`, `x`} {
		if _, err := readStatus(strings.NewReader(body)); err == nil {
			t.Errorf("%s was accepted", body)
		}
	}
}

func FuzzAnswers(f *testing.F) {
	f.Add(nodeStatusAnswer, 1)
	f.Add(instancesAnswer, 2)
	f.Add(`{"request_id":"abc","chunks":12,"status":"submitted"}`, 1)
	f.Add(`{"request_id":"abc","status":"completed","found_keys":12,"total_keys":12}`, 1)
	r := rand.New(rand.NewPCG(5, 6))
	for range 5 {
		w := randomWorld(r)
		f.Add(w.answer(r), w.ranks)
	}
	f.Fuzz(func(t *testing.T, body string, ranks int) {
		const tokens = 1000
		if j, err := readSubmitted(strings.NewReader(body), tokens); err == nil && (j.Chunks < 0 || j.Chunks > tokens || j.ID != "" && !usableID(j.ID)) {
			t.Errorf("job %+v", j)
		}
		if p, err := readProgress(strings.NewReader(body), "abc"); err == nil && (p.Found < 0 || p.Found > p.Total) {
			t.Errorf("progress %+v", p)
		}
		if s, err := readStatus(strings.NewReader(body)); err == nil {
			if _, world := s.model("m"); world < 1 || world > maxWorldSize || s.chunkTokens < 1 {
				t.Errorf("status %+v", s)
			}
		}
		if list, err := readInstances(strings.NewReader(body)); err == nil && len(list) > maxNodes {
			t.Errorf("%d instances", len(list))
		}
		if runs, err := readDirectory(strings.NewReader(body), ranks); err == nil {
			if !json.Valid([]byte(strings.TrimSpace(body))) && len(body) == 0 {
				t.Error("an empty answer was accepted")
			}
			for _, held := range runs {
				if held.memory < 0 || held.memory > held.all {
					t.Errorf("held %+v", held)
				}
			}
		}
	})
}
