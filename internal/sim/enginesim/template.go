// SPDX-License-Identifier: Apache-2.0

package enginesim

import (
	"encoding/json"
	"strings"
)

// promptTokens renders the prompt, or several prompts for completions. date is the
// chat template's current date.
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

// renderChat is the simulated chat template: text of the request or the node in
// front, the tools, then each message between start and end tokens with its role
// in front, then the beginning of the answer. This turn and its answer are a
// prefix of the next turn, so that the prefix cache helps.
//
// Like real templates it depends on chat_template, on variables
// (chat_template_kwargs: prefix is written in front, enable_thinking false begins
// the answer after a thought), and on add_generation_prompt and
// continue_final_message.
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

// templateVariables holds the variables of the simulated template; like real
// templates it ignores others.
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

// appendParts appends the tokens of a message's parts. Like vLLM it joins
// neighbouring texts with a line feed.
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
