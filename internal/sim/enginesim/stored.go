// SPDX-License-Identifier: Apache-2.0

package enginesim

import (
	"net/http"
	"strings"
	"sync"
)

// maxStored bounds the responses that a node keeps; the oldest is dropped.
const maxStored = 4096

// storedPath begins the paths of stored responses.
const storedPath = "/v1/responses/"

var errStored = &apiError{http.StatusNotFound, "invalid_request_error", "the response is not stored here"}

// storedResponse is a response that later requests can refer to. The
// responseStore guards it.
type storedResponse struct {
	object  object    // as the API shows it
	input   []any     // as the API shows it
	history []message // the conversation up to its end
}

// responseStore keeps the latest responses of a node, as vLLM does with
// VLLM_ENABLE_RESPONSES_API_STORE: in memory, for this node only.
type responseStore struct {
	mu    sync.Mutex
	byID  map[string]*storedResponse
	order []string // may hold IDs that were deleted
}

// find returns the conversation of a response, false without it.
func (s *responseStore) find(id string) (history []message, found bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.byID[id]
	if r == nil {
		return nil, false
	}
	return r.history, true
}

func (s *responseStore) put(id string, r *storedResponse) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.byID == nil {
		s.byID = make(map[string]*storedResponse)
	}
	if len(s.order) == maxStored {
		delete(s.byID, s.order[0])
		s.order = s.order[1:]
	}
	s.byID[id] = r
	s.order = append(s.order, id)
}

// finish adds the answer to a response, unless it was deleted.
func (s *responseStore) finish(id string, o object, answer message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.byID[id]; r != nil {
		r.object, r.history = o, append(r.history[:len(r.history):len(r.history)], answer)
	}
}

func (s *responseStore) delete(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.byID, id)
}

// keep stores the response that is about to be generated, unless the request
// says otherwise.
func (c *call) keep(x *exchange, w *apiRequest) {
	if x.api != Responses || w.Store != nil && !*w.Store {
		return
	}
	history, failure := w.conversation(Responses)
	if failure != nil {
		return // the request was read before: it has one
	}
	f := &responsesFormat{exchange: x}
	x.store = &c.engine.responses
	x.store.put(f.responseID(), &storedResponse{
		object:  f.response("in_progress"),
		input:   []any{object{"type": "message", "role": "user", "content": w.Input}},
		history: history,
	})
}

// keepAnswer adds the answer to the stored response.
func (f *responsesFormat) keepAnswer(o object) {
	if f.store != nil {
		f.store.finish(f.responseID(), o, message{role: "assistant", parts: []part{{text: f.tasks[0].out.text()}}})
	}
}

// storedResponse answers a request about a stored response.
func (c *call) storedResponse() {
	id, below, _ := strings.Cut(strings.TrimPrefix(c.r.URL.Path, storedPath), "/")
	store := &c.engine.responses
	store.mu.Lock()
	stored := store.byID[id]
	var shown object
	var input []any
	if stored != nil {
		shown, input = stored.object, stored.input
	}
	store.mu.Unlock()
	if stored == nil {
		c.fail(errStored)
		return
	}
	switch c.r.Method + " " + below {
	case "GET ", "POST cancel":
		c.json(http.StatusOK, shown)
	case "GET input_items":
		c.json(http.StatusOK, object{"object": "list", "data": input})
	case "DELETE ":
		store.delete(id)
		c.json(http.StatusOK, object{"id": id, "object": "response.deleted", "deleted": true})
	default:
		c.json(http.StatusMethodNotAllowed, map[string]string{"detail": "Method Not Allowed"})
	}
}
