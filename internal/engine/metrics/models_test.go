// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

func TestReadModels(t *testing.T) {
	long := strings.Repeat("m", maxModelName)
	var many strings.Builder
	for i := range maxModels + 1 {
		fmt.Fprintf(&many, `,{"id":"m%d"}`, i)
	}
	for _, c := range []struct {
		name, body string
		want       Models
		err        error
	}{
		{"vllm", `{"object":"list","data":[{"id":"llama","parent":null,"permission":[{"id":"x"}]},{"id":"adapter","parent":"llama"}]}`, Models{"adapter", "llama"}, nil},
		{"twice", `{"data":[{"id":"a"},{"id":"a"}]}`, Models{"a"}, nil},
		{"none", `{"object":"list","data":[]}`, Models{}, nil},
		{"longest", `{"data":[{"id":"` + long + `"}]}`, Models{long}, nil},
		{"too long", `{"data":[{"id":"` + long + `m"}]}`, nil, ErrTooLarge},
		{"too many", `{"data":[` + many.String()[1:] + `]}`, nil, ErrTooLarge},
		{"too large", `{"data":[]}` + strings.Repeat(" ", maxModelsPage), nil, ErrTooLarge},
		{"no id", `{"data":[{"name":"a"}]}`, nil, ErrSyntax},
		{"id of another type", `{"data":[{"id":7}]}`, nil, ErrSyntax},
		{"not a list", `{"data":{"id":"a"}}`, nil, ErrSyntax},
		{"html", `<html>`, nil, ErrSyntax},
		{"empty", ``, nil, ErrSyntax},
		{"two values", `{"data":[]}{"data":[]}`, nil, ErrSyntax},
	} {
		got, err := ReadModels(strings.NewReader(c.body))
		if !errors.Is(err, c.err) || !slices.Equal(got, c.want) {
			t.Errorf("%s: %.80q, %v, want %.80q, %v", c.name, got, err, c.want, c.err)
		}
	}
	if _, err := ReadModels(iotest.ErrReader(errors.New("secret"))); !errors.Is(err, errTruncated) {
		t.Errorf("a reader that fails: %v", err)
	}
}

func FuzzReadModels(f *testing.F) {
	f.Add([]byte(`{"object":"list","data":[{"id":"llama"},{"id":"adapter"}]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		models, err := ReadModels(strings.NewReader(string(body)))
		if err != nil {
			if models != nil || err != ErrTooLarge && err != ErrSyntax {
				t.Fatalf("%q, %v", models, err)
			}
			return
		}
		if len(models) > maxModels || !slices.IsSorted(models) {
			t.Fatalf("%q", models)
		}
		for _, m := range models {
			if !models.Has(m) || len(m) > maxModelName {
				t.Fatalf("%q is in the list, and is not", m)
			}
		}
	})
}

func TestModelTable(t *testing.T) {
	for _, c := range []struct {
		name   string
		all    map[string]Models
		differ bool
		lacks  string // addresses whose known list lacks "a"
	}{
		{"nobody", nil, false, ""},
		{"nobody told", map[string]Models{"x": nil, "y": {}}, false, ""},
		{"all the same", map[string]Models{"x": {"a", "b"}, "y": {"a", "b"}}, false, ""},
		{"all the same, without it", map[string]Models{"x": {"b"}, "y": {"b"}}, false, "x y"},
		{"one without it", map[string]Models{"x": {"a"}, "y": {"b"}}, true, "y"},
		{"one untold", map[string]Models{"x": {"b"}, "y": nil}, true, "x"},
	} {
		table := newModelTable(c.all)
		lacks := []string{}
		for _, address := range []string{"x", "y", "z"} {
			if has, known := table.Has(address, "a"); known && !has {
				lacks = append(lacks, address)
			}
		}
		if table.Differ() != c.differ || strings.Join(lacks, " ") != c.lacks {
			t.Errorf("%s: differ %v, %q lack it", c.name, table.Differ(), lacks)
		}
	}
}
