// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"encoding/json"
	"io"
	"slices"
)

const (
	maxModelsPage = 1 << 20 // bytes of a list of models
	maxModels     = 4096    // models of one engine, adapters included
	// maxModelName is in bytes. Names in requests have the same limit.
	maxModelName = 256
)

// Models are the sorted names of an engine's models and adapters. An empty list
// means that they are unknown.
type Models []string

// Has reports whether the engine lists a model.
func (m Models) Has(name string) bool {
	_, ok := slices.BinarySearch(m, name)
	return ok
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
		Data []struct {
			ID *string `json:"id"`
		} `json:"data"`
	}
	// The decoder's error may quote the answer: it goes no further.
	if json.Unmarshal(body, &list) != nil {
		return nil, ErrSyntax
	}
	if len(list.Data) > maxModels {
		return nil, ErrTooLarge
	}
	models := make(Models, 0, len(list.Data))
	for _, m := range list.Data {
		switch {
		case m.ID == nil:
			return nil, ErrSyntax
		case len(*m.ID) > maxModelName:
			return nil, ErrTooLarge
		}
		models = append(models, *m.ID)
	}
	slices.Sort(models)
	return slices.Clip(slices.Compact(models)), nil
}
