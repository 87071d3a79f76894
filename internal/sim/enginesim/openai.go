// SPDX-License-Identifier: Apache-2.0

package enginesim

// Chat completions and completions as vLLM writes them: stream chunks omit unset
// members.

type openAIUsage struct {
	PromptTokens     int            `json:"prompt_tokens"`
	TotalTokens      int            `json:"total_tokens"`
	CompletionTokens int            `json:"completion_tokens"`
	Details          *promptDetails `json:"prompt_tokens_details"`
}

type promptDetails struct {
	CachedTokens int `json:"cached_tokens"`
}

func (x *exchange) openAIUsage() *openAIUsage {
	u := x.total()
	o := &openAIUsage{PromptTokens: u.prompt, CompletionTokens: u.output, TotalTokens: u.prompt + u.output}
	if !x.hideCached {
		o.Details = &promptDetails{u.cached}
	}
	return o
}

type openAIAnswer struct {
	ID      string         `json:"id"`
	Object  string         `json:"object"`
	Created int64          `json:"created"`
	Model   string         `json:"model"`
	Choices []openAIChoice `json:"choices"`
	Usage   *openAIUsage   `json:"usage,omitempty"`
}

type openAIChoice struct {
	Index        int         `json:"index"`
	Message      *chatAnswer `json:"message,omitempty"`
	Delta        *chatDelta  `json:"delta,omitempty"`
	Text         *string     `json:"text,omitempty"`
	Logprobs     *struct{}   `json:"logprobs"`
	FinishReason *string     `json:"finish_reason"`
	StopReason   *string     `json:"stop_reason"`
}

type chatAnswer struct {
	Role      string           `json:"role"`
	Content   *string          `json:"content"`
	Refusal   *string          `json:"refusal"`
	ToolCalls []openAIToolCall `json:"tool_calls"`
}

type chatDelta struct {
	Role      string           `json:"role,omitempty"`
	Content   *string          `json:"content,omitempty"`
	ToolCalls []openAIToolCall `json:"tool_calls,omitempty"`
}

type openAIToolCall struct {
	Index    *int           `json:"index,omitempty"` // streams only
	ID       string         `json:"id,omitempty"`
	Type     string         `json:"type,omitempty"`
	Function openAIFunction `json:"function"`
}

type openAIFunction struct {
	Name      string `json:"name,omitempty"`
	Arguments string `json:"arguments"`
}

// event returns one server-sent event without a name.
func event(v any) []byte { return append(encode([]byte("data: "), v), "\n\n"...) }

const doneEvent = "data: [DONE]\n\n"

// tail returns the optional usage chunk and the end of an OpenAI stream.
func (x *exchange) tail(prefix, object string) []byte {
	var dst []byte
	if x.usage {
		dst = event(openAIAnswer{prefix + x.id, object, x.created, x.model, []openAIChoice{}, x.openAIUsage()})
	}
	return append(dst, doneEvent...)
}

// chunk returns a stream chunk with one choice.
func (x *exchange) chunk(prefix, object string, choice openAIChoice) []byte {
	a := openAIAnswer{ID: prefix + x.id, Object: object, Created: x.created, Model: x.model, Choices: []openAIChoice{choice}}
	if x.continuousUsage {
		a.Usage = x.openAIUsage()
	}
	return event(a)
}

// sharedReason returns the finish reason if this piece carries it, otherwise nil.
func (x *exchange) sharedReason(t *task, last bool) *string {
	if !last || !x.finishWithContent {
		return nil
	}
	reason := t.finishReason()
	return &reason
}

// finished reports whether the last piece of t carried the finish reason.
func (x *exchange) finished(t *task) bool {
	last := len(t.out.parts) - 1
	return x.finishWithContent && t.out.parts[last].readable(len(t.out.tokens)) != ""
}

// chatFormat is /v1/chat/completions.
type chatFormat struct{ *exchange }

const (
	chatPrefix = "chatcmpl-"
	chatChunk  = "chat.completion.chunk"
)

func (f *chatFormat) whole() any {
	t := f.tasks[0]
	m := &chatAnswer{Role: "assistant", ToolCalls: []openAIToolCall{}}
	if text := t.out.text(); text != "" || !t.out.calls() {
		m.Content = &text
	}
	for i, call := range t.out.toolCalls() {
		m.ToolCalls = append(m.ToolCalls, openAIToolCall{
			ID: f.callID(i), Type: "function", Function: openAIFunction(call),
		})
	}
	reason := t.finishReason()
	return openAIAnswer{
		chatPrefix + f.id, "chat.completion", f.created, f.model,
		[]openAIChoice{{Message: m, FinishReason: &reason}}, f.openAIUsage(),
	}
}

func (f *chatFormat) begin(*task) []byte {
	empty := ""
	return f.chunk(chatPrefix, chatChunk, openAIChoice{Delta: &chatDelta{Role: "assistant", Content: &empty}})
}

func (f *chatFormat) open(t *task, part int) []byte {
	p := &t.out.parts[part]
	if p.call == nil {
		return nil
	}
	index := t.out.callIndex(part)
	return f.chunk(chatPrefix, chatChunk, openAIChoice{Delta: &chatDelta{ToolCalls: []openAIToolCall{{
		Index: &index, ID: f.callID(index), Type: "function", Function: openAIFunction{Name: p.call.Name},
	}}}})
}

func (f *chatFormat) delta(t *task, part int, text string, last bool) []byte {
	d := &chatDelta{Content: &text}
	if t.out.parts[part].call != nil {
		index := t.out.callIndex(part)
		d = &chatDelta{ToolCalls: []openAIToolCall{{Index: &index, Function: openAIFunction{Arguments: text}}}}
	}
	return f.chunk(chatPrefix, chatChunk, openAIChoice{Delta: d, FinishReason: f.sharedReason(t, last)})
}

func (f *chatFormat) close(*task, int) []byte { return nil }

func (f *chatFormat) finish(t *task) []byte {
	if f.finished(t) {
		return nil
	}
	reason, empty := t.finishReason(), ""
	return f.chunk(chatPrefix, chatChunk, openAIChoice{Delta: &chatDelta{Content: &empty}, FinishReason: &reason})
}

func (f *chatFormat) end() []byte { return f.tail(chatPrefix, chatChunk) }

// callIndex returns the number of tool calls before a part.
func (o *output) callIndex(part int) int {
	n := 0
	for i := range part {
		if o.parts[i].call != nil {
			n++
		}
	}
	return n
}

// completionsFormat is /v1/completions: one choice per prompt.
type completionsFormat struct{ *exchange }

const completionsPrefix = "cmpl-"

func (f *completionsFormat) whole() any {
	choices := make([]openAIChoice, 0, len(f.tasks))
	for _, t := range f.tasks {
		text, reason := t.out.text(), t.finishReason()
		choices = append(choices, openAIChoice{Index: t.index, Text: &text, FinishReason: &reason})
	}
	return openAIAnswer{completionsPrefix + f.id, "text_completion", f.created, f.model, choices, f.openAIUsage()}
}

func (f *completionsFormat) piece(t *task, text string, reason *string) []byte {
	return f.chunk(completionsPrefix, "text_completion", openAIChoice{Index: t.index, Text: &text, FinishReason: reason})
}

func (f *completionsFormat) begin(*task) []byte      { return nil }
func (f *completionsFormat) open(*task, int) []byte  { return nil }
func (f *completionsFormat) close(*task, int) []byte { return nil }

func (f *completionsFormat) delta(t *task, _ int, text string, last bool) []byte {
	return f.piece(t, text, f.sharedReason(t, last))
}

func (f *completionsFormat) finish(t *task) []byte {
	if f.finished(t) {
		return nil
	}
	reason := t.finishReason()
	return f.piece(t, "", &reason)
}

func (f *completionsFormat) end() []byte { return f.tail(completionsPrefix, "text_completion") }

var (
	_ format = (*chatFormat)(nil)
	_ format = (*completionsFormat)(nil)
)
