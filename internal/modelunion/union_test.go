// SPDX-License-Identifier: Apache-2.0

package modelunion

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

func TestMergeModels(t *testing.T) {
	const a, b, again = `{"id":"a","owned_by": "x"}`, `{"id":"b","n":1.0}`, `{"id":"a","owned_by":"y"}`
	list := func(models ...string) string { return `{"object":"list","data":[` + strings.Join(models, ",") + `]}` }
	for _, c := range []struct {
		name   string
		bodies []string
		want   string
	}{
		{"one", []string{list(a, b)}, list(a, b)},
		{"first wins", []string{list(a), list(again, b)}, list(a, b)},
		{"twice in one", []string{list(a, again)}, list(a)},
		{"empty", []string{list(), list()}, list()},
		{"one empty", []string{list(), list(b)}, list(b)},
		{"another shape around it", []string{`{"has_more":false,"data":[` + a + `]}`}, list(a)},
		{"some unreadable", []string{"<html>", `{"data":7}`, `{}`, `{"data":null}`, `{"data":[7]}`, `{"data":[{"name":"x"}]}`, `{"data":[{"id":7}]}`, list(b)}, list(b)},
		{"all unreadable", []string{"<html>", `{}`}, ""},
		{"none", nil, ""},
	} {
		var lists [][]listedModel
		for _, body := range c.bodies {
			lists = append(lists, readModelList([]byte(body)))
		}
		if got := string(mergeModels(lists)); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

// Whatever engines answer, the merged list is JSON with each ID once.
func FuzzMergeModels(f *testing.F) {
	f.Add([]byte(`{"data":[{"id":"a"}]}`), []byte(`{"object":"list","data":[{"id":"a"},{"id":"b","x":[1,{}]}]}`))
	f.Add([]byte(`{"data":[{"id":"\ud800"},{"ID":"x","id":"y"}]}`), []byte(`{"data":[]}`))
	f.Fuzz(func(t *testing.T, one, two []byte) {
		first, second := readModelList(one), readModelList(two)
		body := mergeModels([][]listedModel{first, second})
		if body == nil {
			if first != nil || second != nil {
				t.Fatal("a list was dropped")
			}
			return
		}
		merged := readModelList(body)
		if merged == nil || !json.Valid(body) || !bytes.HasPrefix(body, []byte(`{"object":"list"`)) {
			t.Fatalf("not a list: %s", body)
		}
		var ids []string
		for _, m := range merged {
			if slices.Contains(ids, m.id) {
				t.Fatalf("%q is listed twice", m.id)
			}
			ids = append(ids, m.id)
		}
		for _, m := range append(first, second...) {
			if !slices.Contains(ids, m.id) {
				t.Fatalf("%q is missing", m.id)
			}
		}
	})
}
