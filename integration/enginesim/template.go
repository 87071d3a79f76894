// SPDX-License-Identifier: Apache-2.0

package enginesim

import (
	"encoding/json"
	"strings"
)

// renderChat is the simulated chat template: the tools first, then one message
// after the other, each between start and end tokens with its role in front,
// then the beginning of the answer. A conversation's next turn has this turn
// and its answer as prefix, so that an engine's cache works for it.
func renderChat(tools json.RawMessage, list []message, generationPrompt bool) []uint32 {
	var dst []uint32
	if !isNull(tools) && string(tools) != "[]" {
		dst = append(AppendTokens(append(dst, tokenStart), "tools\n"+string(compact(tools))), tokenEnd)
	}
	for _, m := range list {
		dst = AppendTokens(append(dst, tokenStart), m.role+"\n")
		dst = append(appendParts(dst, m.parts), tokenEnd)
	}
	if generationPrompt {
		dst = AppendTokens(append(dst, tokenStart), "assistant\n")
	}
	return dst
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
