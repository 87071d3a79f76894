// SPDX-License-Identifier: Apache-2.0

package janitor

import (
	"io"
	"net/http"
	"strings"
	"testing"
)

// The Exchange tells which stored response a request refers to, and whether the
// engine may lack anything but the model.
func TestStoredResponse(t *testing.T) {
	h := newHandler(t)
	for _, c := range []struct {
		method, path, body string
		stored             string
		mayStore, forModel bool
	}{
		{"POST", "/v1/responses", `{"model":"m","input":"I"}`, "", true, true},
		{"POST", "/v1/responses", `{"model":"m","input":"I","previous_response_id":"resp_1"}`, "resp_1", true, false},
		{"POST", "/v1/responses", `{"model":"m","input":"I","conversation":"conv_1"}`, "", true, false},
		{"GET", "/v1/responses/resp_1", "", "resp_1", true, false},
		{"POST", "/v1/responses/resp_1/cancel", "", "resp_1", true, false},
		{"POST", "/v1/responses/resp_1/cancel", `{"model":"m"}`, "resp_1", true, false},
		{"POST", "/v1/chat/completions", `{"model":"m","messages":[]}`, "", false, true},
		{"POST", "/v1/chat/completions", `{"messages":[]}`, "", false, false},
		{"POST", "/v1/elsewhere", `{"model":"m"}`, "", false, false},
		{"GET", "/v1/models", "", "", false, false},
	} {
		e := &engine{answer: answerJSON(`{}`)}
		serveTo(t, h, newRequest(c.method, c.path, strings.NewReader(c.body)), e)
		x := e.exchange
		if x.StoredResponse() != c.stored || x.MayStore() != c.mayStore || x.AsksForModel() != c.forModel {
			t.Errorf("%s %s %s: stored %q, may store %v, for the model %v", c.method, c.path, c.body, x.StoredResponse(), x.MayStore(), x.AsksForModel())
		}
	}
}

// The observer learns the ID before the client does.
func TestObserverLearnsTheResponseFirst(t *testing.T) {
	for contentType, body := range map[string]string{
		"application/json":  `{"id":"resp_1","object":"response","status":"completed"}`,
		"text/event-stream": "data: " + `{"type":"response.created","response":{"id":"resp_1"}}` + "\n\n",
	} {
		h, o, e := newHandler(t), new(recorder), new(engine)
		e.answer = func(w http.ResponseWriter, _ *http.Request) error {
			e.exchange.Observe(o)
			w.Header().Set("Content-Type", contentType)
			if _, err := w.Write([]byte(body)); err != nil {
				return err
			}
			if got := strings.Join(o.calls, " "); got != "header response resp_1" {
				t.Errorf("%s: with the ID written the observer was told %q", contentType, got)
			}
			if contentType == "text/event-stream" {
				_, err := io.WriteString(w, "data: "+`{"type":"response.completed","response":{"id":"resp_1"}}`+"\n\n")
				return err
			}
			return nil
		}
		serveTo(t, h, newRequest("POST", "/v1/responses", strings.NewReader(`{"input":"I"}`)), e)
	}
}
