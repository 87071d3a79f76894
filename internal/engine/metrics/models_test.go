// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

// modelsNamed returns models of which only the names are known, sorted.
func modelsNamed(names ...string) (models Models) {
	for _, name := range names {
		models = append(models, Model{Name: name, Lineage: name})
	}
	return models
}

func byName(a, b Model) int { return strings.Compare(a.Name, b.Name) }

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
		{"vllm", `{"object":"list","data":[{"id":"llama","parent":null,"permission":[{"id":"x"}]},{"id":"adapter","parent":"llama"}]}`, modelsNamed("adapter", "llama"), nil},
		{"twice", `{"data":[{"id":"a"},{"id":"a"}]}`, modelsNamed("a"), nil},
		{"none", `{"object":"list","data":[]}`, Models{}, nil},
		{"longest", `{"data":[{"id":"` + long + `"}]}`, modelsNamed(long), nil},
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
		if !errors.Is(err, c.err) || !got.sameNames(c.want) {
			t.Errorf("%s: %.80q, %v, want %.80q, %v", c.name, got, err, c.want, c.err)
		}
	}
	if _, err := ReadModels(iotest.ErrReader(errors.New("secret"))); !errors.Is(err, errTruncated) {
		t.Errorf("a reader that fails: %v", err)
	}
}

// vLLM 0.32 lists two names that it was started with, and an adapter. The list was
// recorded; only the paths were shortened.
func TestReadModelsOfVLLM(t *testing.T) {
	page, err := os.Open("testdata/models.vllm-0.32.json")
	if err != nil {
		t.Fatal(err)
	}
	defer page.Close()
	got, err := ReadModels(page)
	want := Models{
		{"tiny", "tiny", "", "/models/tiny"},
		{"tiny-alias", "tiny", "", "/models/tiny"},
		{"tiny-lora", "tiny-lora", "tiny", "/models/adapter"},
	}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%q, %v", got, err)
	}
}

// TestLineages reads lists that look like vLLM's, and lists that prove nothing.
func TestLineages(t *testing.T) {
	listed := func(id, root, more string) string {
		return fmt.Sprintf(`{"id":%q,"object":"model","created":1796085000,"owned_by":"vllm","root":%q%s}`, id, root, more)
	}
	base := func(id, root string) string { return listed(id, root, `,"parent":null,"max_model_len":8192`) }
	lora := func(id, root string) string { return listed(id, root, `,"parent":"tiny","max_model_len":null`) }
	named := func(m ...Model) (all Models) { return m }
	const other = `{"id":"b","root":"/m","owned_by":"vllm","max_model_len":4096}`
	for _, c := range []struct {
		name string
		list []string
		want Models
	}{
		{"aliases", []string{base("tiny", "/m"), base("small", "/m"), base("a", "/m")},
			named(Model{"a", "tiny", "", "/m"}, Model{"small", "tiny", "", "/m"}, Model{"tiny", "tiny", "", "/m"})},
		{"adapters with one root", []string{base("small", "/m"), base("tiny", "/m"), lora("x", "/x"), lora("y", "/x"), lora("z", "/m")},
			named(Model{"small", "small", "", "/m"}, Model{"tiny", "small", "", "/m"},
				Model{"x", "x", "small", "/x"}, Model{"y", "y", "small", "/x"}, Model{"z", "z", "small", "/m"})},
		{"an adapter first", []string{lora("z", "/m"), base("small", "/m"), base("tiny", "/m")},
			named(Model{"small", "small", "", "/m"}, Model{"tiny", "small", "", "/m"}, Model{"z", "z", "small", "/m"})},
		{"adapters of vLLM 0.5", []string{listed("tiny", "tiny", `,"parent":null,"max_model_len":8192`), listed("x", "tiny", `,"parent":null,"max_model_len":null`), listed("y", "tiny", `,"parent":null`)},
			named(Model{"tiny", "tiny", "", "tiny"}, Model{"x", "x", "", "tiny"}, Model{"y", "y", "", "tiny"})},
		{"other roots", []string{base("a", "/a"), base("b", "/b")}, named(Model{"a", "a", "", "/a"}, Model{"b", "b", "", "/b"})},
		{"another length", []string{base("a", "/m"), other}, named(Model{"a", "a", "", "/m"}, Model{"b", "b", "", "/m"})},
		{"another owner", []string{base("a", "/m"), strings.Replace(base("b", "/m"), `"vllm"`, `"else"`, 1)},
			named(Model{"a", "a", "", "/m"}, Model{"b", "b", "", "/m"})},
		{"no roots", []string{`{"id":"a","root":null}`, `{"id":"b"}`, `{"id":"c","root":""}`}, modelsNamed("a", "b", "c")},
		{"roots of other types", []string{`{"id":"a","root":7,"parent":[]}`, `{"id":"b","root":7,"owned_by":{}}`}, modelsNamed("a", "b")},
		{"a name twice", []string{base("a", "/m"), base("b", "/n"), base("b", "/m")}, named(Model{"a", "a", "", "/m"}, Model{"b", "b", "", "/n"})},
		{"its own parent", []string{listed("a", "/m", `,"parent":"a"`)}, named(Model{"a", "a", "", "/m"})},
		{"a parent that is not listed", []string{lora("x", "/x")}, named(Model{"x", "x", "tiny", "/x"})},
		{"a root too long", []string{base("a", strings.Repeat("r", maxModelRoot+1)), base("b", strings.Repeat("r", maxModelRoot+1))}, modelsNamed("a", "b")},
		{"an empty name", []string{base("a", "/m"), base("", "/m"), base("b", "/n")},
			named(Model{"", "a", "", "/m"}, Model{"a", "a", "", "/m"}, Model{"b", "b", "", "/n"})},
	} {
		got, err := ReadModels(strings.NewReader(`{"object":"list","data":[` + strings.Join(c.list, ",") + `]}`))
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, %v, want %q", c.name, got, err, c.want)
		}
	}
}

func FuzzReadModels(f *testing.F) {
	f.Add([]byte(`{"object":"list","data":[{"id":"llama"},{"id":"adapter"}]}`))
	f.Add([]byte(`{"data":[{"id":"a","root":"/m","parent":null},{"id":"b","root":"/m"},{"id":"c","root":"/m","parent":"b"},{"id":"","parent":""}]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		models, err := ReadModels(strings.NewReader(string(body)))
		if err != nil {
			if models != nil || err != ErrTooLarge && err != ErrSyntax {
				t.Fatalf("%q, %v", models, err)
			}
			return
		}
		if len(models) > maxModels || !slices.IsSortedFunc(models, byName) {
			t.Fatalf("%q", models)
		}
		for _, m := range models {
			if found := models.Find(m.Name); found == nil || *found != m || max(len(m.Name), len(m.Parent)) > maxModelName || len(m.Root) > maxModelRoot {
				t.Fatalf("%q is in the list, and is not", m)
			}
			if first := models.Find(m.Lineage); first == nil || first.Lineage != first.Name || first.Parent != m.Parent || first.Root != m.Root {
				t.Fatalf("%q, whose lineage is %q", m, first)
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
		{"all the same", map[string]Models{"x": modelsNamed("a", "b"), "y": modelsNamed("a", "b")}, false, ""},
		{"all the same, without it", map[string]Models{"x": modelsNamed("b"), "y": modelsNamed("b")}, false, "x y"},
		{"one without it", map[string]Models{"x": modelsNamed("a"), "y": modelsNamed("b")}, true, "y"},
		{"one untold", map[string]Models{"x": modelsNamed("b"), "y": nil}, true, "x"},
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
