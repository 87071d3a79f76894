// SPDX-License-Identifier: Apache-2.0

package enginesim

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// request sends any request and returns its status and body.
func request(t *testing.T, e *Engine, method, path, body string) (status int, answer string) {
	t.Helper()
	r, err := http.NewRequest(method, e.URL()+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var raw json.RawMessage
	if err := json.NewDecoder(resp.Body).Decode(&raw); err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(raw)
}

func TestStoredResponses(t *testing.T) {
	e := start(t, Config{Responder: Echo, Record: 8})
	var first, second struct {
		ID    string
		Usage struct {
			Input int `json:"input_tokens"`
		}
	}
	ask(t, e, "/v1/responses", `{"input":"Remember this."}`, &first)
	ask(t, e, "/v1/responses", `{"input":"And now?","previous_response_id":"`+first.ID+`"}`, &second)
	if second.Usage.Input < 2*first.Usage.Input {
		t.Errorf("%d tokens after %d: the conversation was not continued", second.Usage.Input, first.Usage.Input)
	}
	for _, c := range []struct{ method, below, want string }{
		{"GET", "", `"text":"Remember this."`},
		{"GET", "/input_items", `"content":"Remember this."`},
		{"POST", "/cancel", `"status":"completed"`},
		{"DELETE", "", `"deleted":true`},
	} {
		if status, body := request(t, e, c.method, "/v1/responses/"+first.ID+c.below, ""); status != http.StatusOK || !strings.Contains(body, c.want) {
			t.Errorf("%s %s: %d %s", c.method, c.below, status, body)
		}
		if status, _ := request(t, e, c.method, "/v1/responses/resp_unknown"+c.below, ""); status != http.StatusNotFound {
			t.Errorf("%s %s of an unknown response: %d", c.method, c.below, status)
		}
	}
	for _, id := range []string{first.ID, "resp_unknown"} {
		if status, _ := request(t, e, "POST", "/v1/responses", `{"input":"x","previous_response_id":"`+id+`"}`); status != http.StatusNotFound {
			t.Errorf("a response that is not there was continued: %d", status)
		}
	}
	if status, _ := request(t, e, "POST", "/v1/responses", `{"input":"x","previous_response_id":"`+second.ID+`"}`); status != http.StatusOK {
		t.Errorf("the second response is gone: %d", status)
	}
	ask(t, e, "/v1/responses", `{"input":"x","store":false}`, &first)
	if status, _ := request(t, e, "GET", "/v1/responses/"+first.ID, ""); status != http.StatusNotFound {
		t.Errorf("store false: %d", status)
	}
}

func TestStoredResponsesAreBounded(t *testing.T) {
	var s responseStore
	for i := range 3 * maxStored {
		s.put(fmt.Sprint(i), new(storedResponse))
	}
	if len(s.byID) != maxStored || len(s.order) != maxStored {
		t.Errorf("%d responses, %d in order", len(s.byID), len(s.order))
	}
	if _, found := s.find(fmt.Sprint(3*maxStored - 1)); !found {
		t.Error("the latest is gone")
	}
}
