// SPDX-License-Identifier: Apache-2.0

package janitor

import (
	"encoding/json"
	"testing"

	"github.com/bauxite/caddy-kvaware/internal/prompt"
)

// Each API's errors have a shape, and it is JSON.
func TestErrorShapes(t *testing.T) {
	for api := range prompt.NumAPIs {
		for _, suffix := range api.Dialect().Suffixes {
			if body := refuseTokens.body(prompt.ErrorShapeOf("/v1" + suffix)); !json.Valid(body) {
				t.Errorf("an error of %v is %q", api, body)
			}
		}
		if shape := api.Dialect().Errors; int(shape) >= len(errorShapes) || errorShapes[shape] == nil {
			t.Errorf("%v has no row for error shape %d", api, shape)
		}
	}
}
