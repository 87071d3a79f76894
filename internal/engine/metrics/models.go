// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"bytes"
	"cmp"
	"encoding/json"
	"io"
	"slices"
	"strings"
)

const (
	maxModelsPage = 1 << 20 // bytes of a list of models
	maxModels     = 4096    // models of one engine, adapters included
	// maxModelName is in bytes. Names in requests have the same limit.
	maxModelName = 256
	// maxModelRoot bounds the root of a model, in bytes. A longer one is not known.
	maxModelRoot = 1024
)

// Model is a name that an engine serves requests under.
type Model struct {
	Name string
	// Lineage is the first name in the engine's list that stands for the same model,
	// often Name itself. Prompts under names of one lineage share the engine's KV
	// cache.
	Lineage string
	// Parent is the lineage of the model that a LoRA adapter belongs to, "" for no
	// adapter.
	Parent string
	// Root is where the engine has read the model or the adapter from: a path or a
	// name, whose meaning is the engine's own. "": it does not say.
	Root string
}

// Base returns the lineage of the model whose tokenizer and layers requests under
// the name use.
func (m *Model) Base() string { return cmp.Or(m.Parent, m.Lineage) }

// Models are an engine's models and adapters, sorted by name. An empty list means
// that they are unknown.
type Models []Model

// Find returns the model with a name, nil when the engine does not list it.
func (m Models) Find(name string) *Model {
	i, ok := slices.BinarySearchFunc(m, name, func(m Model, name string) int { return strings.Compare(m.Name, name) })
	if !ok {
		return nil
	}
	return &m[i]
}

// Has reports whether the engine lists a model.
func (m Models) Has(name string) bool { return m.Find(name) != nil }

// sameNames reports whether two lists have the same names.
func (m Models) sameNames(other Models) bool {
	return slices.EqualFunc(m, other, func(a, b Model) bool { return a.Name == b.Name })
}

// optionalText is a string of JSON. Other values are left out, because engines
// disagree about the members beside the name.
type optionalText string

// UnmarshalJSON implements json.Unmarshaler.
func (t *optionalText) UnmarshalJSON(value []byte) error {
	var s string
	if json.Unmarshal(value, &s) != nil {
		s = ""
	}
	*t = optionalText(s)
	return nil
}

// listedModel is a model as an engine lists it.
type listedModel struct {
	ID     *string         `json:"id"`
	Root   optionalText    `json:"root"`
	Parent optionalText    `json:"parent"`
	Owner  optionalText    `json:"owned_by"`
	Length json.RawMessage `json:"max_model_len"`
}

// sameModel reports whether two listed names stand for one model: vLLM lists each
// --served-model-name with the same root. Two adapters with one root are loaded
// twice, and each has KV blocks of its own. Versions that list no parents list no
// length of an adapter's context. Owner and length also keep apart what a gateway
// lists of several engines, where equal paths say little.
func (m *listedModel) sameModel(other *listedModel) bool {
	return m.Root != "" && m.Root == other.Root && m.Parent == "" && other.Parent == "" &&
		m.Owner == other.Owner && m.hasLength() && bytes.Equal(m.Length, other.Length)
}

func (m *listedModel) hasLength() bool {
	return len(m.Length) > 0 && !bytes.Equal(m.Length, []byte("null"))
}

// ReadModels reads the answer of GET /v1/models. A list that is too long is an
// error: a shortened one would hide models. The errors are ErrTooLarge, ErrSyntax,
// and one for a reader that fails.
func ReadModels(r io.Reader) (Models, error) {
	body, err := io.ReadAll(io.LimitReader(r, maxModelsPage+1))
	switch {
	case err != nil:
		return nil, errTruncated
	case len(body) > maxModelsPage:
		return nil, ErrTooLarge
	}
	var list struct {
		Data []listedModel `json:"data"`
	}
	// The decoder's error may quote the answer: it goes no further.
	if json.Unmarshal(body, &list) != nil {
		return nil, ErrSyntax
	}
	if len(list.Data) > maxModels {
		return nil, ErrTooLarge
	}
	for i := range list.Data {
		switch m := &list.Data[i]; {
		case m.ID == nil:
			return nil, ErrSyntax
		case len(*m.ID) > maxModelName:
			return nil, ErrTooLarge
		case len(m.Root) > maxModelRoot, len(m.Parent) > maxModelName:
			m.Root, m.Parent = "", ""
		}
	}
	return newModels(list.Data), nil
}

// newModels finds the lineages of listed models. Of a name that is listed twice the
// first entry counts.
func newModels(listed []listedModel) Models {
	first := make(map[optionalText]*listedModel) // by root
	lineages := make(map[string]string, len(listed))
	models := make(Models, 0, len(listed))
	for i := range listed {
		l := &listed[i]
		if _, twice := lineages[*l.ID]; twice {
			continue
		}
		m := Model{Name: *l.ID, Lineage: *l.ID, Root: string(l.Root)}
		if f := first[l.Root]; f != nil && l.sameModel(f) {
			m.Lineage = *f.ID
		} else if f == nil && l.Parent == "" && l.hasLength() {
			first[l.Root] = l
		}
		lineages[m.Name] = m.Lineage
		if string(l.Parent) != m.Name {
			m.Parent = string(l.Parent)
		}
		models = append(models, m)
	}
	for i := range models {
		if m := &models[i]; m.Parent != "" {
			m.Parent = cmp.Or(lineages[m.Parent], m.Parent)
		}
	}
	slices.SortFunc(models, func(a, b Model) int { return strings.Compare(a.Name, b.Name) })
	return slices.Clip(models)
}
