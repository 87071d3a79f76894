// SPDX-License-Identifier: Apache-2.0

package enginesim

import (
	"encoding/json"
	"strings"
)

// promptTokens renders what the model gets to read: one prompt, or several
// for completions. date is what the chat template has as today's.
func (w *apiRequest) promptTokens(api API, date string) (tokens [][]uint32, texts []string, err *apiError) {
	if api == Completions {
		return prompts(w.Prompt)
	}
	list, err := w.conversation(api)
	if err != nil {
		return nil, nil, err
	}
	chat, err := w.renderChat(list, date)
	return [][]uint32{chat}, []string{lastUser(list)}, err
}

// renderChat is the simulated chat template: what a request or the node puts
// in front of everything, the tools, then one message after the other, each
// between start and end tokens with its role in front, then the beginning of
// the answer. A conversation's next turn has this turn and its answer as
// prefix, so that an engine's cache works for it.
//
// It reacts to what real templates react to: to being replaced
// (chat_template), to variables (chat_template_kwargs: prefix is written in
// front, enable_thinking false begins the answer after a thought), and to how
// the end is to be (add_generation_prompt, continue_final_message).
func (w *apiRequest) renderChat(list []message, date string) ([]uint32, *apiError) {
	generate := w.AddGenerationPrompt == nil || *w.AddGenerationPrompt
	if generate && w.ContinueFinalMessage {
		return nil, badRequest("Cannot set both `continue_final_message` and `add_generation_prompt` to True.")
	}
	kwargs, err := w.templateVariables()
	if err != nil {
		return nil, err
	}
	dst := appendTurn(nil, "template", w.ChatTemplate)
	if date != "" {
		dst = appendTurn(dst, "date", date)
	}
	dst = AppendTokens(dst, kwargs.Prefix)
	if !isNull(w.Tools) && string(w.Tools) != "[]" {
		dst = appendTurn(dst, "tools", string(compact(w.Tools)))
	}
	for i, m := range list {
		dst = AppendTokens(append(dst, tokenStart), m.role+"\n")
		dst = appendParts(dst, m.parts)
		if i < len(list)-1 || !w.ContinueFinalMessage {
			dst = append(dst, tokenEnd)
		}
	}
	if !generate {
		return dst, nil
	}
	dst = AppendTokens(append(dst, tokenStart), "assistant\n")
	if kwargs.Thinking != nil && !*kwargs.Thinking {
		dst = AppendTokens(dst, "<think>\n\n</think>\n\n")
	}
	return dst, nil
}

// templateVariables are those that the simulated template knows; it ignores
// others, as templates do.
type templateVariables struct {
	Prefix   string `json:"prefix"`
	Thinking *bool  `json:"enable_thinking"`
}

func (w *apiRequest) templateVariables() (v templateVariables, err *apiError) {
	if !isNull(w.ChatTemplateKwargs) && json.Unmarshal(w.ChatTemplateKwargs, &v) != nil {
		return v, badRequest("chat_template_kwargs must be an object with values of the types the template takes")
	}
	return v, nil
}

// appendTurn appends a turn of text, or nothing without a text.
func appendTurn(dst []uint32, role, text string) []uint32 {
	if text == "" {
		return dst
	}
	return append(AppendTokens(append(dst, tokenStart), role+"\n"+text), tokenEnd)
}

// appendParts appends the tokens of a message's parts. Neighbouring texts are
// joined by a line feed, as vLLM does.
func appendParts(dst []uint32, parts []part) []uint32 {
	var text strings.Builder
	flush := func() {
		dst = AppendTokens(dst, text.String())
		text.Reset()
	}
	joined := false
	for _, p := range parts {
		switch {
		case p.call != nil:
			flush()
			dst = appendCall(dst, *p.call)
			joined = false
		case p.raw != nil:
			flush()
			dst = appendImage(dst, compact(p.raw))
			joined = false
		default:
			if joined {
				text.WriteByte('\n')
			}
			text.WriteString(p.text)
			joined = true
		}
	}
	flush()
	return dst
}

func appendCall(dst []uint32, call ToolCall) []uint32 {
	dst = AppendTokens(append(dst, tokenCall), call.Name+"\n")
	return append(AppendTokens(dst, call.Arguments), tokenCallEnd)
}

// lastUser returns the text of the last message of a user.
func lastUser(list []message) string {
	for i := len(list) - 1; i >= 0; i-- {
		if list[i].role != "user" {
			continue
		}
		var texts []string
		for _, p := range list[i].parts {
			if p.call == nil && p.raw == nil {
				texts = append(texts, p.text)
			}
		}
		return strings.Join(texts, "\n")
	}
	return ""
}
