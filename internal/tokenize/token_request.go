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

// way is a way to ask an engine for tokens.
type endpoint uint8

const (
	endpointTokenize endpoint = iota
	endpointRender
	numEndpoints
)

// question is a prompt as it is asked about.
type tokenRequest struct {
	body       []byte
	dialect    *prompt.Dialect
	completion bool
	media      bool     // there is something in the prompt that is not text
	exact      bool     // /tokenize takes all that has a say in the tokens
	tokenize   [][]byte // the body for /tokenize, in pieces of body
}

// tokenMembers holds the members that change the tokens and that /tokenize does not
// take. All others, beside TokenizeMembers, shape the answer.
var tokenMembers = map[string]bool{
	"documents": true, "reasoning_effort": true, "reasoning": true, "truncate_prompt_tokens": true,
	"truncation_side": true, "prompt_embeds": true, "suffix": true,
}

// ask reads a request's body as far as it has a say in the tokens.
func parseRequest(api prompt.API, body []byte) (*tokenRequest, error) {
	dialect := api.Dialect()
	if dialect.RenderPath == "" {
		return nil, ErrUnsupported
	}
	q := &tokenRequest{body: body, dialect: dialect, completion: dialect.Prompt == "prompt", exact: true}
	q.tokenize = append(q.tokenize, []byte(`{"return_token_strs":true`))
	s := newScanner(bytes.NewReader(body), int64(len(body)))
	defer func() { sensitive.Wipe(s.buf) }()
	named := false
	s.object(func(name []byte) {
		named = q.member(s, string(name)) || named
	})
	s.end()
	if s.err != nil || !named {
		return nil, ErrUnsupported
	}
	q.tokenize = append(q.tokenize, []byte("}"))
	q.exact = q.exact && !q.media
	return q, nil
}

// member reads a member's value and tells whether it is the prompt.
func (q *tokenRequest) member(s *scanner, name string) (isPrompt bool) {
	s.peek()
	from := s.offset()
	switch {
	case name != q.dialect.Prompt:
		s.skip()
	case q.completion:
		q.prompt(s)
		return true
	default:
		isPrompt = true
		q.messages(s)
	}
	value := q.between(from, s.offset())
	switch {
	case string(value) == "null":
	case q.dialect.TokenizeMembers[name]:
		q.copy(name, value)
	case tokenMembers[name], name == "tool_choice" && string(value) == `"none"`:
		q.exact = false
	}
	return isPrompt
}

// between is a part of the body. After an error there is none.
func (q *tokenRequest) between(from, to int64) []byte {
	if from > to || to > int64(len(q.body)) {
		return nil
	}
	return q.body[from:to]
}

func (q *tokenRequest) copy(name string, value []byte) {
	q.tokenize = append(q.tokenize, []byte(`,"`+name+`":`), value)
}

// prompt reads a completion's prompt: a text, or a list of one.
func (q *tokenRequest) prompt(s *scanner) {
	one := func() {
		if s.peek() != '"' {
			s.fail(errSyntax) // ids of tokens
			return
		}
		from := s.offset()
		s.skip()
		q.copy("prompt", q.between(from, s.offset()))
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
func (q *tokenRequest) messages(s *scanner) {
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
					q.media = true
				}
			})
		})
	})
}

// textPart reads a part of a message and tells whether it is text.
func textPart(s *scanner) bool {
	typed, is, has := false, false, false
	s.object(func(name []byte) {
		switch string(name) {
		case "type":
			typed = true
			if s.peek() != '"' {
				s.skip()
				return
			}
			var buf [16]byte
			t := textSink{buf: buf[:0], room: len(buf)}
			s.text(&t)
			switch string(t.buf) {
			case "text", "input_text", "output_text", "refusal", "thinking":
				is = !t.cut
			}
		case "text":
			has = true
			s.skip()
		default:
			s.skip()
		}
	})
	return is || !typed && has
}

// path is where to ask.
func (q *tokenRequest) path(w endpoint) string {
	if w == endpointTokenize {
		return "/tokenize"
	}
	return q.dialect.RenderPath
}

// open returns a reader of what to ask, and its length in bytes.
func (q *tokenRequest) open(w endpoint) (io.ReadCloser, int64) {
	if w == endpointRender {
		return io.NopCloser(bytes.NewReader(q.body)), int64(len(q.body))
	}
	size := 0
	for _, piece := range q.tokenize {
		size += len(piece)
	}
	pieces := net.Buffers(slices.Clone(q.tokenize)) // it is used up by reading
	return io.NopCloser(&pieces), int64(size)
}
