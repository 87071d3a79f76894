// SPDX-License-Identifier: Apache-2.0

package tokenize

import (
	"bytes"
	"io"
	"net"
	"slices"

	"github.com/bauxite/caddy-kvaware/internal/prompt"
	"github.com/bauxite/caddy-kvaware/internal/sensitive"
)

// endpoint is an engine's endpoint that returns tokens.
type endpoint uint8

const (
	endpointTokenize endpoint = iota
	endpointRender
	numEndpoints
)

// tokenRequest is a request to be sent to one of the endpoints.
type tokenRequest struct {
	body       []byte
	dialect    *prompt.Dialect
	completion bool
	stored     bool     // it continues what the engine has stored
	media      bool     // the prompt has media
	exact      bool     // /tokenize takes every member that affects the tokens
	tokenize   [][]byte // the body for /tokenize, in pieces of body
}

// tokenMembers holds the members that change the tokens and that /tokenize does not
// take. All others, beside TokenizeMembers, shape the answer.
var tokenMembers = map[string]bool{
	"documents": true, "reasoning_effort": true, "reasoning": true, "truncate_prompt_tokens": true,
	"truncation_side": true, "prompt_embeds": true, "suffix": true,
}

// parseRequest reads the members of a request's body that affect the tokens.
func parseRequest(api prompt.API, body []byte) (*tokenRequest, error) {
	dialect := api.Dialect()
	if dialect.RenderPath == "" {
		return nil, ErrUnsupported
	}
	tr := &tokenRequest{body: body, dialect: dialect, completion: dialect.Prompt == "prompt", exact: dialect.TokenizeMembers != nil}
	tr.tokenize = append(tr.tokenize, []byte(`{"return_token_strs":true`))
	s := newScanner(bytes.NewReader(body), int64(len(body)))
	defer func() { sensitive.Wipe(s.buf) }()
	named := false
	s.object(func(name []byte) {
		named = tr.member(s, string(name)) || named
	})
	s.end()
	if s.err != nil || !named || tr.stored {
		return nil, ErrUnsupported
	}
	tr.tokenize = append(tr.tokenize, []byte("}"))
	tr.exact = tr.exact && !tr.media
	return tr, nil
}

// member reads a member's value and reports whether it is the prompt.
func (tr *tokenRequest) member(s *scanner, name string) (isPrompt bool) {
	s.peek()
	from := s.offset()
	switch {
	case name != tr.dialect.Prompt:
		s.skip()
	case tr.completion:
		tr.prompt(s)
		return true
	case tr.dialect.TokenizeMembers == nil && s.peek() == '"': // a response's input as text
		isPrompt = true
		s.skip()
	default:
		isPrompt = true
		tr.messages(s)
	}
	value := tr.between(from, s.offset())
	switch {
	case string(value) == "null":
	case slices.Contains(tr.dialect.StoredBy, name):
		tr.stored = true // engines do not render it
	case tr.dialect.TokenizeMembers[name]:
		tr.copy(name, value)
	case tokenMembers[name], name == "tool_choice" && string(value) == `"none"`:
		tr.exact = false
	}
	return isPrompt
}

// between returns a part of the body, nil after an error.
func (tr *tokenRequest) between(from, to int64) []byte {
	if from > to || to > int64(len(tr.body)) {
		return nil
	}
	return tr.body[from:to]
}

func (tr *tokenRequest) copy(name string, value []byte) {
	tr.tokenize = append(tr.tokenize, []byte(`,"`+name+`":`), value)
}

// prompt reads a completion's prompt: a text, or a list of one.
func (tr *tokenRequest) prompt(s *scanner) {
	one := func() {
		if s.peek() != '"' {
			s.fail(errSyntax) // token ids
			return
		}
		from := s.offset()
		s.skip()
		tr.copy("prompt", tr.between(from, s.offset()))
	}
	if s.peek() != '[' {
		one()
		return
	}
	n := 0
	s.array(func() {
		if n++; n > 1 {
			s.fail(errSyntax)
			return
		}
		one()
	})
}

// messages looks for content that is not text.
func (tr *tokenRequest) messages(s *scanner) {
	s.array(func() {
		s.object(func(name []byte) {
			if string(name) != "content" || s.peek() != '[' {
				s.skip()
				return
			}
			s.array(func() {
				if s.peek() == '"' {
					s.skip()
				} else if !textPart(s) {
					tr.media = true
				}
			})
		})
	})
}

// textTypes holds the types of the parts of a message that have no media.
var textTypes = map[string]bool{
	"text": true, "input_text": true, "output_text": true, "refusal": true, "thinking": true, "redacted_thinking": true,
	"reasoning_text": true, "tool_use": true, "tool_result": true,
}

// textPart reads a part of a message and reports whether it is text. The result of a
// tool counts as text unless it has parts of its own.
func textPart(s *scanner) bool {
	typed, is, has, parts := false, false, false, false
	s.object(func(name []byte) {
		switch string(name) {
		case "type":
			typed = true
			if s.peek() != '"' {
				s.skip()
				return
			}
			var buf [24]byte
			t := textSink{buf: buf[:0], room: len(buf)}
			s.text(&t)
			is = textTypes[string(t.buf)] && !t.cut
		case "content":
			parts = s.peek() == '['
			s.skip()
		case "text":
			has = true
			s.skip()
		default:
			s.skip()
		}
	})
	return (is || !typed && has) && !parts
}

// path returns the endpoint's path.
func (tr *tokenRequest) path(w endpoint) string {
	if w == endpointTokenize {
		return "/tokenize"
	}
	return tr.dialect.RenderPath
}

// open returns a reader of the endpoint's request body, and its length in bytes.
func (tr *tokenRequest) open(w endpoint) (io.ReadCloser, int64) {
	if w == endpointRender {
		return io.NopCloser(bytes.NewReader(tr.body)), int64(len(tr.body))
	}
	size := 0
	for _, piece := range tr.tokenize {
		size += len(piece)
	}
	pieces := net.Buffers(slices.Clone(tr.tokenize)) // reading uses it up
	return io.NopCloser(&pieces), int64(size)
}
