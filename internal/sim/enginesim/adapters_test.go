// SPDX-License-Identifier: Apache-2.0

package enginesim

import (
	"net/http"
	"strings"
	"testing"
)

func TestAdaptersComeAndGo(t *testing.T) {
	e := start(t, Config{Models: []string{"base"}})
	body := `{"model":"adapter","messages":[{"role":"user","content":"x"}]}`
	for _, loaded := range []bool{false, true, false} {
		if loaded {
			e.LoadAdapter("adapter")
		} else {
			e.UnloadAdapter("adapter")
		}
		resp, _ := post(t, e, "/v1/chat/completions", body)
		_, list := get(t, e, "/v1/models")
		if (resp.StatusCode == http.StatusOK) != loaded || strings.Contains(list, `"adapter"`) != loaded {
			t.Errorf("loaded %v: status %d, %s", loaded, resp.StatusCode, list)
		}
	}
}
