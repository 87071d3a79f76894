// SPDX-License-Identifier: Apache-2.0

package prompt

import "strings"

// API is the shape of a request body.
type API uint8

const (
	// Unknown is the zero value: no path was looked at.
	Unknown API = iota
	// Chat is OpenAI's chat completions.
	Chat
	// Completions is OpenAI's (legacy) completions.
	Completions
	// Responses is OpenAI's responses.
	Responses
	// Messages is Anthropic's messages.
	Messages
	// Embeddings is embeddings and what takes the same body: pooling, classify.
	Embeddings
	// Rerank is a query against documents.
	Rerank
	// Score is pairs of texts.
	Score
	// Tokenize is everything that takes a prompt in one of the shapes above and
	// answers with tokens: tokenize, render, count_tokens. Scrubbed in the same
	// order as the real request, so that the counts agree; never signed.
	Tokenize
	// Other is any other JSON body: every string is scrubbed in body order.
	Other
)

var apiNames = [...]string{
	"unknown", "chat", "completions", "responses", "messages",
	"embeddings", "rerank", "score", "tokenize", "other",
}

// String returns the API's name in lower case, a safe metric label.
func (a API) String() string {
	if int(a) < len(apiNames) {
		return apiNames[a]
	}
	return apiNames[Unknown]
}

// Signable reports whether requests of this API can enter the prefix tree:
// only those whose prompt an engine keeps in its KV cache.
func (a API) Signable() bool { return a >= Chat && a <= Messages }

// pathSuffixes is looked through in order: longer suffixes before those they
// end with.
var pathSuffixes = [...]struct {
	suffix string
	api    API
}{
	{"/chat/completions", Chat},
	{"/completions", Completions},
	{"/responses", Responses},
	{"/messages", Messages},
	{"/embeddings", Embeddings},
	{"/embed", Embeddings},
	{"/pooling", Embeddings},
	{"/classify", Embeddings},
	{"/rerank", Rerank},
	{"/score", Score},
	{"/tokenize", Tokenize},
	{"/completions/render", Tokenize},
	{"/messages/count_tokens", Tokenize},
}

// ByPath tells the API from the end of a URL path, so that a prefix in front
// ("/llama/v1/chat/completions"), stripped or not, makes no difference.
// Trailing slashes are ignored. A path it does not know is Other: its strings
// are scrubbed all the same.
func ByPath(path string) API {
	path = strings.TrimRight(path, "/")
	for i := range pathSuffixes {
		if strings.HasSuffix(path, pathSuffixes[i].suffix) {
			return pathSuffixes[i].api
		}
	}
	return Other
}
