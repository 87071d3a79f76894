// SPDX-License-Identifier: Apache-2.0

package enginesim

import "encoding/json"

// messagesFormat is Anthropic's /v1/messages as vLLM serves it. input_tokens
// excludes the cached tokens if they are reported (vLLM pull request 40912): the
// prompt is input_tokens + cache_read_input_tokens +
// cache_creation_input_tokens. Without prompt details, and in message_start,
// input_tokens is the whole prompt and the cache members are absent.
type messagesFormat struct{ *exchange }

type anthropicUsage struct {
	InputTokens   int  `json:"input_tokens"`
	OutputTokens  int  `json:"output_tokens"`
	CacheCreation *int `json:"cache_creation_input_tokens,omitempty"`
	CacheRead     *int `json:"cache_read_input_tokens,omitempty"`
}

type anthropicMessage struct {
	ID           string         `json:"id"`
	Type         string         `json:"type"`
	Role         string         `json:"role"`
	Content      []any          `json:"content"`
	Model        string         `json:"model"`
	StopReason   *string        `json:"stop_reason"`
	StopSequence *string        `json:"stop_sequence"`
	Usage        anthropicUsage `json:"usage"`
}

func (f *messagesFormat) messageUsage() anthropicUsage {
	u := f.total()
	if f.hideCached {
		return anthropicUsage{InputTokens: u.prompt, OutputTokens: u.output}
	}
	created := 0
	return anthropicUsage{u.prompt - u.cached, u.output, &created, &u.cached}
}

func (f *messagesFormat) message() anthropicMessage {
	return anthropicMessage{ID: chatPrefix + f.id, Type: "message", Role: "assistant", Content: []any{}, Model: f.model}
}

func (t *task) stopReason() string {
	switch t.finishReason() {
	case "length":
		return "max_tokens"
	case "tool_calls":
		return "tool_use"
	}
	return "end_turn"
}

func (f *messagesFormat) whole() any {
	t, m := f.tasks[0], f.message()
	if text := t.out.text(); text != "" {
		m.Content = append(m.Content, object{"type": "text", "text": text})
	}
	for i, call := range t.out.toolCalls() {
		input := json.RawMessage(call.Arguments)
		if !json.Valid(input) { // cut off by max_tokens
			input = json.RawMessage("{}")
		}
		m.Content = append(m.Content, object{"type": "tool_use", "id": f.callID(i), "name": call.Name, "input": input})
	}
	reason := t.stopReason()
	m.StopReason, m.Usage = &reason, f.messageUsage()
	return m
}

func (f *messagesFormat) begin(*task) []byte {
	m := f.message()
	m.Usage.InputTokens = f.total().prompt
	return namedEvent("message_start", object{"type": "message_start", "message": m})
}

func (f *messagesFormat) block(name string, part int, members object) []byte {
	members["type"], members["index"] = name, part
	return namedEvent(name, members)
}

func (f *messagesFormat) open(t *task, part int) []byte {
	block := object{"type": "text", "text": ""}
	if call := t.out.parts[part].call; call != nil {
		block = object{"type": "tool_use", "id": f.callID(t.out.callIndex(part)), "name": call.Name, "input": object{}}
	}
	return f.block("content_block_start", part, object{"content_block": block})
}

func (f *messagesFormat) delta(t *task, part int, text string, _ bool) []byte {
	delta := object{"type": "text_delta", "text": text}
	if t.out.parts[part].call != nil {
		delta = object{"type": "input_json_delta", "partial_json": text}
	}
	return f.block("content_block_delta", part, object{"delta": delta})
}

func (f *messagesFormat) close(_ *task, part int) []byte {
	return f.block("content_block_stop", part, object{})
}

func (f *messagesFormat) finish(t *task) []byte {
	return namedEvent("message_delta", object{
		"type": "message_delta", "delta": object{"stop_reason": t.stopReason(), "stop_sequence": nil}, "usage": f.messageUsage(),
	})
}

func (f *messagesFormat) end() []byte {
	return namedEvent("message_stop", object{"type": "message_stop"})
}

var _ format = (*messagesFormat)(nil)
