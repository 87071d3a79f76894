// SPDX-License-Identifier: Apache-2.0

package enginesim

import (
	"bytes"
	"encoding/json"
	"net/http"
	"slices"
	"unicode/utf8"
)

// API is one of the request formats the node understands.
type API string

// The formats that generate text, or vectors.
const (
	Chat        API = "chat"
	Completions API = "completions"
	Responses   API = "responses"
	Messages    API = "messages" // Anthropic's
	Embeddings  API = "embeddings"
)

// apiRequest is the union of the members of all formats. Members that may have
// several types stay raw until the format is known.
type apiRequest struct {
	Model               string          `json:"model"`
	Messages            []apiMessage    `json:"messages"`
	System              json.RawMessage `json:"system"`
	Prompt              json.RawMessage `json:"prompt"`
	Input               json.RawMessage `json:"input"`
	Instructions        string          `json:"instructions"`
	Tools               json.RawMessage `json:"tools"`
	Stream              bool            `json:"stream"`
	StreamOptions       *streamOptions  `json:"stream_options"`
	MaxTokens           *int            `json:"max_tokens"`
	MaxCompletionTokens *int            `json:"max_completion_tokens"`
	MaxOutputTokens     *int            `json:"max_output_tokens"`
	N                   *int            `json:"n"`
	IgnoreEOS           bool            `json:"ignore_eos"`
	CacheSalt           *string         `json:"cache_salt"`
	Extra               extraArgs       `json:"vllm_xargs"`
	EncodingFormat      string          `json:"encoding_format"`
	Dimensions          int             `json:"dimensions"`
	Tokens              []uint32        `json:"tokens"`
	ReturnTokenStrs     bool            `json:"return_token_strs"`
	PreviousResponseID  string          `json:"previous_response_id"`
	Store               *bool           `json:"store"`

	history []message // of PreviousResponseID

	// Inputs of the chat template, beside messages and tools.
	AddGenerationPrompt  *bool           `json:"add_generation_prompt"`
	ContinueFinalMessage bool            `json:"continue_final_message"`
	ChatTemplate         string          `json:"chat_template"`
	ChatTemplateKwargs   json.RawMessage `json:"chat_template_kwargs"`
}

// extraArgs are vLLM's own arguments of a request.
type extraArgs struct {
	KVCacheReportMode any `json:"kv_cache_report_mode"` // "full": reused blocks are published as stored
}

type streamOptions struct {
	IncludeUsage         bool `json:"include_usage"`
	ContinuousUsageStats bool `json:"continuous_usage_stats"`
}

type apiMessage struct {
	Role       string          `json:"role"`
	Content    json.RawMessage `json:"content"`
	ToolCalls  []apiToolCall   `json:"tool_calls"`
	ToolCallID string          `json:"tool_call_id"`
}

type apiToolCall struct {
	Function struct {
		Name      string `json:"name"`
		Arguments string `json:"arguments"`
	} `json:"function"`
}

// apiPart is a content part, a content block or a Responses item, whose members do
// not collide.
type apiPart struct {
	Type      string          `json:"type"`
	Role      string          `json:"role"`
	Text      string          `json:"text"`
	Name      string          `json:"name"`
	Arguments string          `json:"arguments"`
	Input     json.RawMessage `json:"input"`
	Content   json.RawMessage `json:"content"`
	Output    json.RawMessage `json:"output"`
}

// message is one turn of a conversation, independent of the format.
type message struct {
	role  string
	parts []part
}

// part is text, a tool call, or raw JSON of something else, such as an image.
type part struct {
	text string
	call *ToolCall
	raw  []byte
}

// apiError is an error answer. It repeats nothing of the request.
type apiError struct {
	status  int
	kind    string // vLLM's error type
	message string
}

func badRequest(message string) *apiError {
	return &apiError{http.StatusBadRequest, "BadRequestError", message}
}

var (
	errJSON    = badRequest("the body is not the JSON this endpoint takes")
	errPrompt  = badRequest("no prompt, or one of a type this endpoint does not take")
	errContent = badRequest("message content of a type this endpoint does not take")
	errModel   = &apiError{http.StatusNotFound, "NotFoundError", "the model does not exist"}
)

// decode parses a body and checks the members that all formats share.
func (c *Config) decode(api API, body []byte) (*apiRequest, *apiError) {
	var w apiRequest
	// An engine refuses invalid UTF-8; encoding/json would replace it.
	if !utf8.Valid(body) || json.Unmarshal(body, &w) != nil {
		return nil, errJSON
	}
	if !c.serves(w.Model) {
		return nil, errModel
	}
	if w.StreamOptions != nil && !w.Stream && (api == Chat || api == Completions) {
		return nil, badRequest("Stream options can only be defined when `stream=True`.")
	}
	if w.CacheSalt != nil && (*w.CacheSalt == "" || len(*w.CacheSalt) > 1024) {
		return nil, badRequest("Parameter 'cache_salt' must be a non-empty string of at most 1024 bytes if provided.")
	}
	if w.N != nil && *w.N != 1 {
		return nil, badRequest("this simulation makes one choice for each prompt: n must be 1")
	}
	for _, limit := range []*int{w.MaxTokens, w.MaxCompletionTokens, w.MaxOutputTokens} {
		if limit != nil && *limit < 1 {
			return nil, badRequest("max_tokens must be at least 1")
		}
	}
	return &w, nil
}

func (c *Config) serves(model string) bool {
	if len(c.Models) == 0 || model == "" {
		return true
	}
	return slices.Contains(c.models(), model)
}

// maxOutput returns the request's output limit, 0 without one.
func (w *apiRequest) maxOutput() int {
	for _, limit := range []*int{w.MaxCompletionTokens, w.MaxOutputTokens, w.MaxTokens} {
		if limit != nil {
			return *limit
		}
	}
	return 0
}

func (w *apiRequest) salt() string {
	if w.CacheSalt == nil {
		return ""
	}
	return *w.CacheSalt
}

// conversation reads the messages of a chat-like format.
func (w *apiRequest) conversation(api API) ([]message, *apiError) {
	switch api {
	case Responses:
		return w.responsesItems()
	case Messages:
		system, err := contentParts(w.System)
		if err != nil {
			return nil, err
		}
		var list []message
		if len(system) > 0 {
			list = append(list, message{role: "system", parts: system})
		}
		return w.chatMessages(list)
	default:
		return w.chatMessages(nil)
	}
}

// chatMessages appends the request's messages to list.
func (w *apiRequest) chatMessages(list []message) ([]message, *apiError) {
	if len(w.Messages) == 0 {
		return nil, errPrompt
	}
	for _, m := range w.Messages {
		if m.Role == "" {
			return nil, errPrompt
		}
		parts, err := contentParts(m.Content)
		if err != nil {
			return nil, err
		}
		for _, call := range m.ToolCalls {
			parts = append(parts, part{call: &ToolCall{Name: call.Function.Name, Arguments: call.Function.Arguments}})
		}
		list = append(list, message{role: m.Role, parts: parts})
	}
	return list, nil
}

// responsesItems reads instructions and input of a Responses request. A
// function call is part of the assistant's turn before it.
func (w *apiRequest) responsesItems() ([]message, *apiError) {
	list := slices.Clone(w.history)
	if w.Instructions != "" {
		list = append(list, message{role: "system", parts: []part{{text: w.Instructions}}})
	}
	var text string
	if json.Unmarshal(w.Input, &text) == nil && !isNull(w.Input) {
		return append(list, message{role: "user", parts: []part{{text: text}}}), nil
	}
	var items []json.RawMessage
	if json.Unmarshal(w.Input, &items) != nil || len(items) == 0 {
		return nil, errPrompt
	}
	for _, raw := range items {
		var item apiPart
		if json.Unmarshal(raw, &item) != nil {
			return nil, errPrompt
		}
		switch item.Type {
		case "function_call":
			call := part{call: &ToolCall{Name: item.Name, Arguments: item.Arguments}}
			if n := len(list) - 1; n >= 0 && list[n].role == "assistant" {
				list[n].parts = append(slices.Clip(list[n].parts), call)
			} else {
				list = append(list, message{role: "assistant", parts: []part{call}})
			}
		case "function_call_output":
			parts, err := contentParts(item.Output)
			if err != nil {
				return nil, err
			}
			list = append(list, message{role: "tool", parts: parts})
		case "", "message":
			parts, err := contentParts(item.Content)
			if err != nil || item.Role == "" {
				return nil, errContent
			}
			list = append(list, message{role: item.Role, parts: parts})
		default:
			list = append(list, message{role: item.Type, parts: []part{{raw: raw}}})
		}
	}
	return list, nil
}

// contentParts reads message content: absent, a string, or a list of parts.
func contentParts(raw json.RawMessage) ([]part, *apiError) {
	if isNull(raw) {
		return nil, nil
	}
	var text string
	if json.Unmarshal(raw, &text) == nil {
		return []part{{text: text}}, nil
	}
	var list []json.RawMessage
	if json.Unmarshal(raw, &list) != nil {
		return nil, errContent
	}
	parts := make([]part, 0, len(list))
	for _, raw := range list {
		var p apiPart
		if json.Unmarshal(raw, &p) != nil {
			return nil, errContent
		}
		switch p.Type {
		case "text", "input_text", "output_text":
			parts = append(parts, part{text: p.Text})
		case "tool_use":
			parts = append(parts, part{call: &ToolCall{Name: p.Name, Arguments: string(compact(p.Input))}})
		case "tool_result":
			inner, err := contentParts(p.Content)
			if err != nil {
				return nil, err
			}
			parts = append(parts, inner...)
		default:
			parts = append(parts, part{raw: raw})
		}
	}
	return parts, nil
}

// prompts reads the prompts of a completion, or the inputs of an embedding:
// a string, a list of strings, token ids, or a list of those. It returns the
// tokens and the text of each.
func prompts(raw json.RawMessage) (tokens [][]uint32, texts []string, err *apiError) {
	if isNull(raw) {
		return nil, nil, errPrompt
	}
	var text string
	var list []string
	var ids []uint32
	var idLists [][]uint32
	switch {
	case json.Unmarshal(raw, &text) == nil:
		list = []string{text}
	case json.Unmarshal(raw, &list) == nil:
	case json.Unmarshal(raw, &ids) == nil:
		list, idLists = nil, [][]uint32{ids}
	case json.Unmarshal(raw, &idLists) == nil:
		list = nil
	default:
		return nil, nil, errPrompt
	}
	for _, text := range list {
		tokens = append(tokens, AppendTokens(nil, text))
		texts = append(texts, text)
	}
	if len(tokens) == 0 {
		for _, ids := range idLists {
			tokens = append(tokens, ids)
			texts = append(texts, string(AppendText(nil, ids)))
		}
	}
	for _, t := range tokens {
		if len(t) == 0 {
			return nil, nil, errPrompt
		}
	}
	if len(tokens) == 0 {
		return nil, nil, errPrompt
	}
	return tokens, texts, nil
}

func isNull(raw json.RawMessage) bool { return len(raw) == 0 || string(raw) == "null" }

// compact returns raw without insignificant whitespace; raw is valid JSON or
// empty, which is an empty object.
func compact(raw json.RawMessage) []byte {
	if len(raw) == 0 {
		return []byte("{}")
	}
	var buf bytes.Buffer
	_ = json.Compact(&buf, raw) // cannot fail: a decoder has seen it
	return buf.Bytes()
}
