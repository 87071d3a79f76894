// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// ChatPath is the path of OpenAI's chat API.
const ChatPath = "/v1/chat/completions"

// Completion is a chat answer, as far as tests read it.
type Completion struct {
	Choices []struct{ Message struct{ Content string } }
	Usage   struct {
		PromptTokens        int `json:"prompt_tokens"`
		PromptTokensDetails struct {
			CachedTokens int `json:"cached_tokens"`
		} `json:"prompt_tokens_details"`
	}
}

func encode(v any) string {
	body, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(body)
}

// Chat returns a chat request with one user message.
func Chat(text string, stream bool) string {
	return encode(map[string]any{
		"model": "sim", "stream": stream,
		"messages": []map[string]string{{"role": "user", "content": text}},
	})
}

// Ask returns a chat request that limits the answer's tokens.
func Ask(model, text string, stream bool, tokens int) string {
	return encode(map[string]any{
		"model": model, "stream": stream, "max_tokens": tokens,
		"messages": []map[string]string{{"role": "user", "content": text}},
	})
}

// NextTurn returns the turn that follows a question.
func NextTurn(question string) string {
	return encode(map[string]any{"model": "sim", "max_tokens": 2, "messages": []map[string]string{
		{"role": "user", "content": question}, {"role": "assistant", "content": "Yes."}, {"role": "user", "content": "And then?"},
	}})
}

// AgentTurn returns a request of a conversation that has run a tool in each of
// its turns.
func AgentTurn(name string, turns int) string {
	messages := []map[string]any{{"role": "user", "content": Story(name)}}
	for i := range turns {
		id := fmt.Sprint("call", i)
		messages = append(messages,
			map[string]any{"role": "assistant", "content": nil, "tool_calls": []any{map[string]any{"id": id, "type": "function", "function": map[string]string{"name": "look", "arguments": "{}"}}}},
			map[string]any{"role": "tool", "tool_call_id": id, "content": fmt.Sprint("It is there. ", strings.Repeat(id+" found it. ", 40))})
	}
	return encode(map[string]any{
		"model": "sim", "messages": messages, "max_tokens": 64,
		"tools": []any{map[string]any{"type": "function", "function": map[string]any{"name": "look", "parameters": map[string]any{"type": "object"}}}},
	})
}

// Story returns a text of some 4,000 tokens that shares no prefix with the
// story of another name.
func Story(name string) string {
	return "Story " + name + ". " + strings.Repeat("What "+name+" says about the matter. ", 560)
}

// Words returns a random text of at least this length in bytes.
func Words(rnd *rand.Rand, bytes int) string {
	var b strings.Builder
	for b.Len() < bytes {
		fmt.Fprintf(&b, "word%x ", rnd.Uint32()&0xffff)
	}
	return b.String()
}

// Conversation is a chat that grows turn by turn.
type Conversation struct {
	messages []map[string]string
}

// Begin starts the conversation with a system prompt.
func (c *Conversation) Begin(system string) {
	c.messages = []map[string]string{{"role": "system", "content": system}}
}

// Say adds the user's next message and returns the request.
func (c *Conversation) Say(text string) string {
	c.messages = append(c.messages, map[string]string{"role": "user", "content": text})
	return encode(map[string]any{"model": "sim", "messages": c.messages})
}

// Answered adds the engine's answer.
func (c *Conversation) Answered(text string) {
	c.messages = append(c.messages, map[string]string{"role": "assistant", "content": text})
}

// AnswerText returns the text of a chat answer, whole or streamed.
func AnswerText(t testing.TB, body string, stream bool) string {
	t.Helper()
	if !stream {
		var a Completion
		if err := json.Unmarshal([]byte(body), &a); err != nil || len(a.Choices) == 0 {
			t.Fatalf("not a chat answer: %.300s", body)
		}
		return a.Choices[0].Message.Content
	}
	var text strings.Builder
	done := false
	for line := range strings.SplitSeq(body, "\n") {
		data, ok := strings.CutPrefix(line, "data: ")
		if !ok {
			continue
		}
		if data == "[DONE]" {
			done = true
			continue
		}
		var event struct {
			Choices []struct {
				Delta struct{ Content string }
			}
		}
		if err := json.Unmarshal([]byte(data), &event); err != nil {
			t.Fatalf("not an event: %.300s", data)
		}
		for _, c := range event.Choices {
			text.WriteString(c.Delta.Content)
		}
	}
	if !done {
		t.Fatalf("the stream has no end: %.300s", body)
	}
	return text.String()
}
