// SPDX-License-Identifier: Apache-2.0

package prompt

import "slices"

// effect says what a member of a request does to the prompt that an engine computes.
type effect uint8

const (
	// effectNone: it changes nothing, or only the answer.
	effectNone effect = iota
	// effectStart: it changes the start of the prompt, so the rendition begins with it.
	effectStart
	// effectVariant: it changes tokens on some engines, or near the end. It is no part
	// of the rendition, so prompts that differ only in it go to the same upstream. But
	// they have variants of their own, and so tokens of their own.
	effectVariant
	// effectDoubt is effectVariant where common engines differ in a large part of the
	// prompt: what such a request finds cached teaches nothing of the engine.
	effectDoubt
	// effectNoCache: the engine computes the whole prompt again.
	effectNoCache
)

// promptMember is one row of the table below.
type promptMember struct {
	member string // as the documents spell it; a dot leads into an object
	name   name
	below  name // the member of the value that counts; nameNone: all of it
	api    API  // the only API in which it counts; Unknown: all of them
	with   name // it counts only beside this member; nameNone: always
	effect effect

	// asAbsent holds the values, raw, that are as if the member were missing. null
	// always is.
	asAbsent []string

	// What each engine does with it, for the documents; "": it ignores it.
	vLLM, sglang, llamaCpp string

	// A test adds these members to a request: the one has the effect, the other has
	// not. The first is "" for members without effect.
	changes, keeps string
}

// promptMembers holds the members of a request, besides the prompt itself, that
// change what an engine computes, and some that one may think did. The gateway does
// not know which engine is behind an upstream, nor its chat template. Where engines
// differ, the row says what costs least: prompts that are taken for equal and are
// not cost a wrong prediction, and stay together at one upstream; prompts that are
// taken for different and are not would be computed once more.
var promptMembers = [...]promptMember{
	{
		member: "chat_template", name: nameChatTemplate, effect: effectStart,
		vLLM: "renders with it, if allowed to", sglang: "", llamaCpp: "",
		changes: `"chat_template":"{{ messages }}"`, keeps: `"chat_template":null`,
	},
	{
		member: "chat_template_kwargs", name: nameChatTemplateKwargs, effect: effectStart,
		vLLM: "variables of the template", sglang: "variables of the template", llamaCpp: "variables of the template",
		changes: `"chat_template_kwargs":{"enable_thinking":false}`, keeps: `"chat_template_kwargs":null`,
	},
	{
		member: "reasoning_effort", name: nameReasoningEffort, effect: effectStart,
		vLLM: "variable of the template, often in the system message", sglang: "the same", llamaCpp: "",
		changes: `"reasoning_effort":"high"`, keeps: `"reasoning_effort":null`,
	},
	{
		member: "documents", name: nameDocuments, effect: effectStart,
		vLLM: "variable of the template, before the messages", sglang: "", llamaCpp: "",
		changes: `"documents":[{"text":"a"}]`, keeps: `"documents":null`,
	},
	{
		member: "lora_path", name: nameLoRAPath, effect: effectStart,
		vLLM: "", sglang: "computes with the adapter", llamaCpp: "",
		changes: `"lora_path":"a"`, keeps: `"lora_path":null`,
	},
	{
		member: "tool_choice", name: nameToolChoice, with: nameTools, effect: effectDoubt, asAbsent: []string{`"auto"`},
		vLLM:     "renders all tools; none of them for `none` with an option; Kimi K3: renders the choice too",
		sglang:   "renders only a tool that is named, and none for `none`; Kimi K3: renders the choice too",
		llamaCpp: "renders all tools; none of them for `none` with some templates",
		changes:  `"tools":[{"type":"function","function":{"name":"f"}}],"tool_choice":{"type":"function","function":{"name":"f"}}`,
		keeps:    `"tools":[{"type":"function","function":{"name":"f"}}],"tool_choice":"auto"`,
	},
	{
		member: "response_format", name: nameResponseFormat, effect: effectVariant, asAbsent: []string{`{"type":"text"}`},
		vLLM: "grammar of the answer; Kimi K3: renders it", sglang: "the same", llamaCpp: "grammar of the answer",
		changes: `"response_format":{"type":"json_object"}`, keeps: `"response_format":{"type":"text"}`,
	},
	{
		member: "thinking.type", name: nameThinking, below: nameType, effect: effectVariant,
		vLLM: "Messages: as `reasoning_effort` when disabled", sglang: "Messages: variable of the template", llamaCpp: "",
		changes: `"thinking":{"type":"enabled","budget_tokens":1024}`, keeps: `"thinking":{"budget_tokens":2048}`,
	},
	{
		member: "output_config.effort", name: nameOutputConfig, below: nameEffort, effect: effectVariant,
		vLLM: "Messages: as `reasoning_effort`", sglang: "", llamaCpp: "",
		changes: `"output_config":{"effort":"low"}`, keeps: `"output_config":{}`,
	},
	{
		member: "add_generation_prompt", name: nameAddGenerationPrompt, effect: effectVariant, asAbsent: []string{"true"},
		vLLM: "leaves out the head of the answer", sglang: "", llamaCpp: "leaves out the head of the answer",
		changes: `"add_generation_prompt":false`, keeps: `"add_generation_prompt":true`,
	},
	{
		member: "continue_final_message", name: nameContinueFinalMessage, effect: effectVariant, asAbsent: []string{"false"},
		vLLM: "leaves the last message open", sglang: "leaves the last message open", llamaCpp: "",
		changes: `"continue_final_message":true`, keeps: `"continue_final_message":false`,
	},
	{
		member: "add_special_tokens", name: nameAddSpecialTokens, effect: effectVariant,
		vLLM: "one token at the start", sglang: "", llamaCpp: "",
		changes: `"add_special_tokens":true`, keeps: `"add_special_tokens":null`,
	},
	{
		member: "task", name: nameTask, api: Chat, effect: effectVariant,
		vLLM: "", sglang: "DeepSeek V4: a token at the end", llamaCpp: "",
		changes: `"task":"domain"`, keeps: `"task":null`,
	},
	{
		member: "mm_processor_kwargs", name: nameMMProcessorKwargs, effect: effectVariant,
		vLLM: "number of tokens of an image", sglang: "number of tokens of an image", llamaCpp: "",
		changes: `"mm_processor_kwargs":{"max_pixels":1000}`, keeps: `"mm_processor_kwargs":null`,
	},
	{
		member: "media_io_kwargs", name: nameMediaIOKwargs, effect: effectVariant,
		vLLM: "number of frames of a video", sglang: "", llamaCpp: "",
		changes: `"media_io_kwargs":{"video":{"num_frames":8}}`, keeps: `"media_io_kwargs":null`,
	},
	{
		member: "truncate_prompt_tokens", name: nameTruncatePromptTokens, effect: effectDoubt, asAbsent: []string{"-1"},
		vLLM: "cuts off a part of a long prompt, on the left by default", sglang: "", llamaCpp: "",
		changes: `"truncate_prompt_tokens":100`, keeps: `"truncate_prompt_tokens":-1`,
	},
	{
		member: "prompt_logprobs", name: namePromptLogprobs, effect: effectNoCache,
		vLLM: "reads no prefix cache, not for 0 either", sglang: "", llamaCpp: "",
		changes: `"prompt_logprobs":0`, keeps: `"prompt_logprobs":null`,
	},
	{
		member: "echo", name: nameEcho, api: Completions, with: nameLogprobs, effect: effectNoCache, asAbsent: []string{"false"},
		vLLM: "with `logprobs`: reads no prefix cache", sglang: "with `logprobs`: reads no prefix cache", llamaCpp: "",
		changes: `"echo":true,"logprobs":1`, keeps: `"echo":true,"logprobs":null`,
	},
	{
		member: "echo", name: nameEcho, api: Chat, effect: effectNoCache, asAbsent: []string{"false"},
		vLLM: "reads no prefix cache", sglang: "", llamaCpp: "",
		changes: `"echo":true`, keeps: `"echo":false`,
	},
	{
		member: "logprobs", name: nameLogprobs,
		vLLM: "only of the answer", sglang: "only of the answer", llamaCpp: "only of the answer",
		keeps: `"logprobs":true`,
	},
	{
		member: "max_tokens",
		vLLM:   "length of the answer", sglang: "length of the answer", llamaCpp: "length of the answer",
		keeps: `"max_tokens":5`,
	},
	{
		member: "parallel_tool_calls",
		vLLM:   "number of calls that are kept", sglang: "grammar of the answer", llamaCpp: "grammar of the answer",
		keeps: `"parallel_tool_calls":false`,
	},
	{
		member: "prompt_cache_key",
		keeps:  `"prompt_cache_key":"k"`,
	},
}

// startMembers are those that change the start of the prompt, in the order in which
// they begin the rendition.
var startMembers = func() (names []name) {
	for i := range promptMembers {
		if m := &promptMembers[i]; m.effect == effectStart {
			names = append(names, m.name)
		}
	}
	return names
}()

// addStartMembers lists the members that change the start of the prompt.
func (d *Document) addStartMembers() {
	for _, n := range startMembers {
		d.addOption(d.top[n])
	}
}

// readPromptMembers looks for members that change tokens or skip the cache.
func (d *Document) readPromptMembers() {
	for i := range promptMembers {
		m := &promptMembers[i]
		if m.effect < effectVariant || d.top[m.name] == 0 {
			continue
		}
		value := d.promptMember(m)
		if value == 0 {
			continue
		}
		if m.effect == effectNoCache {
			d.NoCache = true
			continue
		}
		d.variants[i] = d.member(value)
		d.HasVariant = true
		d.Doubtful = d.Doubtful || m.effect == effectDoubt
	}
}

// promptMember returns the value node of a member, 0 if it has no effect here.
func (d *Document) promptMember(m *promptMember) uint32 {
	value := d.top[m.name]
	if m.api != Unknown && m.api != d.API || m.with != nameNone && d.isNull(d.top[m.with]) {
		return 0
	}
	if m.below != nameNone {
		if d.tape.nodes[value].kind != kindObject {
			return 0
		}
		value = d.find(value, m.below)
	}
	if d.isNull(value) {
		return 0
	}
	start, end := d.tape.raw(value)
	if slices.Contains(m.asAbsent, string(d.Body[start:end])) {
		return 0
	}
	if d.tape.nodes[value].kind == kindObject { // Anthropic's {"type":"auto"}
		if t := d.find(value, nameType); t != 0 {
			start, end = d.tape.raw(t)
			if slices.Contains(m.asAbsent, string(d.Body[start:end])) {
				return 0
			}
		}
	}
	return value
}

// isNull reports whether a value is missing or null.
func (d *Document) isNull(value uint32) bool {
	return value == 0 || d.tape.nodes[value].kind == kindNull
}

// RenderVariant streams the members that change the tokens of the prompt, but neither
// its start nor its rendition, as Render does: each with its number in front. Two
// requests with equal renditions have equal tokens only when these are equal too.
func (d *Document) RenderVariant(yield func(chunk []byte)) {
	if !d.HasVariant {
		return
	}
	if cap(d.chunk) < chunkSize {
		d.chunk = make([]byte, 0, chunkSize)
	}
	media := d.Media
	r := renderer{document: d, buf: d.chunk[:0], body: d.Body, yield: func(_ int32, chunk []byte) bool {
		yield(chunk)
		return true
	}}
	for i, m := range d.variants {
		if m.Present() {
			r.room(2)
			r.buf = append(r.buf, TagSegment, byte(i))
			r.writeRaw(m.Start, m.End)
		}
	}
	r.flush()
	d.Media = media
}
