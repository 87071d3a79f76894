// SPDX-License-Identifier: Apache-2.0

package prompt

import "strings"

// API identifies a dialect. Signatures cover its number: add new ones at the
// end.
type API uint8

const (
	// Unknown is the zero value: no path was looked at.
	Unknown API = iota
	// Chat is OpenAI's chat completions.
	Chat
	// Completions is OpenAI's legacy completions.
	Completions
	// Responses is OpenAI's responses.
	Responses
	// Messages is Anthropic's messages.
	Messages
	// Embeddings is embeddings, pooling and classification: all take one body.
	Embeddings
	// Rerank is one query against documents.
	Rerank
	// Score is pairs of texts.
	Score
	// Tokenize is tokenizing, rendering and counting the prompts of the APIs
	// above. They are scrubbed in the order of the real request, so that the
	// counts agree, and never signed.
	Tokenize
	// Other is any other path: every string of the JSON is scrubbed in body order.
	Other

	// NumAPIs is the number of the constants above.
	NumAPIs
)

// Dialect describes the requests and answers of one API. It holds everything
// that differs from API to API, except the format of streamed answers, which is
// a row in internal/answer. A new API is a number above, a row below, and a
// file with its Dialect and the order in which engines render its prompt.
type Dialect struct {
	// Name is in lower case and fits a metric label.
	Name string
	// Suffixes are the ends of the URL paths that take this dialect.
	Suffixes []string
	// Prompt is the member that carries the prompt, when there is only one.
	Prompt string
	// Signable: requests can enter the prefix tree, because an engine keeps
	// their prompts in its KV cache.
	Signable bool
	// AnyJSON: the body may be any JSON value, and may turn out not to be JSON.
	AnyJSON bool
	// UsageOnRequest: a streamed answer reports usage only when the request asks
	// for it with stream_options.include_usage.
	UsageOnRequest bool
	// Errors is the shape of an error, at these paths and below them.
	Errors ErrorShape

	// Path is where engines take such a request from the gateway itself. Empty:
	// it sends none.
	Path string
	// OneToken holds the members, with their JSON values, that make an engine
	// answer with one token and keep no record.
	OneToken map[string]string
	// RenderPath is where an engine renders such a request to tokens. Empty: it
	// does not.
	RenderPath string
	// TokenizeMembers are the members that /tokenize takes from the request. Empty: it
	// does not take such a request.
	TokenizeMembers map[string]bool

	// StoredBy are the members that make a request continue what the engine has
	// stored: the body does not show all of its prompt.
	StoredBy []string

	// items: the messages are items of the Responses API.
	items bool
	// list adds the texts and segments of the prompt, in the order in which
	// engines render them.
	list func(*Document) error
}

// ErrorShape is the JSON shape of an API's errors.
type ErrorShape uint8

const (
	// OpenAIError is the shape that engines use for every API but Anthropic's.
	OpenAIError ErrorShape = iota
	// AnthropicError is the shape of Anthropic's API.
	AnthropicError
)

var dialects = [NumAPIs]*Dialect{
	Unknown:     {Name: "unknown", AnyJSON: true, list: (*Document).otherPrompt},
	Chat:        &chatDialect,
	Completions: &completionsDialect,
	Responses:   &responsesDialect,
	Messages:    &messagesDialect,
	Embeddings:  &embeddingsDialect,
	Rerank:      &rerankDialect,
	Score:       &scoreDialect,
	Tokenize:    &tokenizeDialect,
	Other:       {Name: "other", AnyJSON: true, list: (*Document).otherPrompt},
}

// Dialect returns the API's row. The caller must not change it.
func (a API) Dialect() *Dialect {
	if a < NumAPIs {
		return dialects[a]
	}
	return dialects[Unknown]
}

// String returns the dialect's name.
func (a API) String() string { return a.Dialect().Name }

// Signable reports whether requests of the API can enter the prefix tree.
func (a API) Signable() bool { return a.Dialect().Signable }

// ByPath returns the API whose suffix ends the URL path, the longest where
// there are several: "/chat/completions" before "/completions". So a prefix
// such as "/llama/v1" makes no difference, nor do trailing slashes. A path
// without a known suffix is Other.
func ByPath(path string) API {
	path = strings.TrimRight(path, "/")
	found, longest := Other, 0
	for a, d := range dialects {
		for _, suffix := range d.Suffixes {
			if len(suffix) > longest && strings.HasSuffix(path, suffix) {
				found, longest = API(a), len(suffix)
			}
		}
	}
	return found
}

// ErrorShapeOf returns the shape of errors at a URL path: that of the API that
// the path belongs to or lies below, as /v1/messages/count_tokens lies below
// /v1/messages.
func ErrorShapeOf(path string) ErrorShape {
	path += "/"
	for _, d := range dialects {
		if d.Errors == OpenAIError {
			continue
		}
		for _, suffix := range d.Suffixes {
			if strings.Contains(path, suffix+"/") {
				return d.Errors
			}
		}
	}
	return OpenAIError
}

// otherPrompt leaves all strings to the sweep, in body order.
func (d *Document) otherPrompt() error {
	d.findTokenIDs()
	return nil
}
