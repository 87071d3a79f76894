// SPDX-License-Identifier: Apache-2.0

package staging

import (
	"encoding/json"
	"io"
	"sync"

	"github.com/bauxite/caddy-kvaware/internal/prompt"
)

// wipedBody is the body of a request, to be wiped when the request is over. net/http
// may read on after the answer is there.
type wipedBody struct {
	mu   sync.Mutex
	data []byte // nil: wiped
	next int    // offset
}

// Read fails once the body is wiped.
func (b *wipedBody) Read(p []byte) (n int, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.data == nil:
		return 0, io.ErrClosedPipe
	case b.next == len(b.data):
		return 0, io.EOF
	}
	n = copy(p, b.data[b.next:])
	b.next += n
	return n, nil
}

// Close does nothing: wipe ends the body.
func (b *wipedBody) Close() error { return nil }

func (b *wipedBody) wipe() {
	b.mu.Lock()
	defer b.mu.Unlock()
	clear(b.data)
	b.data = nil
}

// answerMembers are the members of a request that concern only the answer, not the
// prompt.
var answerMembers = [...]string{
	"stream", "stream_options", "n", "best_of", "min_tokens", "max_tokens", "max_completion_tokens", "max_output_tokens",
	"logprobs", "top_logprobs", "prompt_logprobs", "echo", "response_format", "background", "store", "cache_salt",
}

// warmBody returns the body of the one-token request for a request's body.
func warmBody(api prompt.API, body []byte, salt string) ([]byte, error) {
	var members map[string]json.RawMessage
	defer func() {
		for _, value := range members {
			clear(value)
		}
	}()
	dialect := api.Dialect()
	if dialect.Path == "" || json.Unmarshal(body, &members) != nil || members == nil {
		return nil, errWarm
	}
	for _, name := range answerMembers {
		clear(members[name])
		delete(members, name)
	}
	if salt != "" {
		quoted, err := json.Marshal(salt)
		if err != nil {
			return nil, errWarm
		}
		members["cache_salt"] = quoted
	}
	for name, value := range dialect.OneToken {
		members[name] = json.RawMessage(value)
	}
	return json.Marshal(members)
}
