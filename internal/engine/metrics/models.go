// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"encoding/json"
	"io"
	"slices"
)

const (
	// maxModelsPage is how large a list of models may be, in bytes.
	maxModelsPage = 1 << 20
	// maxModels is how many models one engine may list, adapters included.
	maxModels = 4096
	// maxModelName is how long a model's name may be, in bytes: as long as a
	// request's that is compared with it.
	maxModelName = 256
)

// Models are the names under which an engine serves models and adapters,
// sorted. Without any it is not known which.
type Models []string

// Has reports whether the engine lists a model.
func (m Models) Has(name string) bool {
	_, ok := slices.BinarySearch(m, name)
	return ok
}

// ReadModels reads the answer of GET /v1/models. A list that is too long to
// keep is an error, not a shorter list: who is not on that would be missed.
// Its errors are ErrTooLarge, ErrSyntax, and one for a reader that fails.
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
