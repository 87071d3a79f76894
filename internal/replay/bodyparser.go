// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"encoding/json"

	"github.com/cespare/xxhash/v2"

	"github.com/bauxite/caddy-kvaware/internal/blockhash"
	"github.com/bauxite/caddy-kvaware/internal/prompt"
)

// bodyParser parses logged request bodies with the gateway's own parser, so that
// both cut a prompt into the same blocks. It does not scrub them: only hashes
// are kept, and only while the replay runs.
type bodyParser struct {
	blockBytes int
	document   prompt.Document
}

func newBodyParser(o *ReadOptions) *bodyParser { return &bodyParser{blockBytes: o.BlockBytes} }

// defaultOutput is the length of an answer in tokens when the log has none.
const defaultOutput = 256

func (b *bodyParser) parse(line []byte) (req Request, stamp *json.Number, err error) {
	var in struct {
		Timestamp *json.Number    `json:"timestamp"`
		Path      string          `json:"path"`
		Body      json.RawMessage `json:"body"`
		Output    *int            `json:"output_tokens"`
		SessionID json.RawMessage `json:"session_id"`
	}
	if json.Unmarshal(line, &in) != nil {
		return req, nil, errJSON
	}
	body := line
	if in.Body != nil {
		if body, err = unquote(in.Body); err != nil {
			return req, nil, err
		}
	}
	if req, err = b.request(in.Path, body); err != nil {
		return req, nil, err
	}
	if in.Output != nil {
		if err := req.setTokens(req.Tokens, *in.Output); err != nil {
			return req, nil, err
		}
	}
	if len(in.SessionID) > 0 && string(in.SessionID) != "null" {
		req.Session = max(1, xxhash.Sum64(in.SessionID))
	}
	return req, in.Timestamp, nil
}

// unquote returns a body that may have been logged as a JSON string.
func unquote(raw json.RawMessage) ([]byte, error) {
	if raw[0] != '"' {
		return raw, nil
	}
	var s string
	if json.Unmarshal(raw, &s) != nil {
		return nil, errJSON
	}
	return []byte(s), nil
}

// request parses one body as the gateway does. Without a path, its members tell
// the API.
func (b *bodyParser) request(path string, body []byte) (req Request, err error) {
	var in struct {
		Messages            json.RawMessage `json:"messages"`
		Prompt              json.RawMessage `json:"prompt"`
		MaxTokens           *int            `json:"max_tokens"`
		MaxCompletionTokens *int            `json:"max_completion_tokens"`
	}
	if json.Unmarshal(body, &in) != nil {
		return req, errBody
	}
	api := prompt.ByPath(path)
	if path == "" {
		switch {
		case in.Messages != nil:
			api = prompt.Chat
		case in.Prompt != nil:
			api = prompt.Completions
		default:
			api = prompt.Responses
		}
	}
	if !api.Signable() || b.document.Parse(api, body) != nil || b.document.ManyPrompts || len(b.document.Segments) == 0 {
		return req, errBody
	}
	var text blockhash.Text
	text.Start(xxhash.Sum64String(b.document.Model), b.blockBytes)
	total := 0
	head := make([]byte, 0, affinityBytes)
	b.document.Render(func(_ int32, chunk []byte) bool {
		head = append(head, chunk[:min(len(chunk), affinityBytes-len(head))]...)
		text.Add(chunk)
		total += len(chunk)
		return true
	})
	output := defaultOutput
	for _, limit := range []*int{in.MaxTokens, in.MaxCompletionTokens} {
		if limit != nil {
			output = min(output, max(1, *limit))
		}
	}
	if err := req.setTokens(tokensOf(total), output); err != nil {
		return req, err
	}
	req.Chain, req.Affinity = text.Chain, xxhash.Sum64(head)
	return req, nil
}
