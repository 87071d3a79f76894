// SPDX-License-Identifier: Apache-2.0

package answer

// readOpenAI reads a chunk of chat completions or completions, as vLLM, SGLang,
// llama.cpp, TensorRT-LLM and many others write them.
func (e *event) readOpenAI() {
	choices, usage := 0, false
	for _, m := range e.members {
		if e.readCounts(m) {
			usage = usage || e.b[m.value.start] == '{' && string(e.bytes(m.name)) == "usage"
			continue
		}
		name := e.bytes(m.name)
		if string(name) != "choices" || e.b[m.value.start] != '[' {
			e.readValue(meaningOf(name), false)
			continue
		}
		for ok := e.open('[', ']'); ok; ok = e.more(']') {
			e.readChoice()
			choices++
		}
	}
	e.usageOnly = usage && choices == 0
}

// readChoice reads one choice in two passes, because its index and its end are
// needed first and may come last.
func (e *event) readChoice() {
	if e.peek() != '{' {
		e.readValue(meansText, false)
		return
	}
	start := e.i
	index, reason := e.readChoiceHead()
	e.tally.choice(index, reason)
	if len(reason) > 0 {
		e.addEnding(ending{index: index})
	}
	if !e.restoring && e.tally.token {
		return
	}
	e.i = start
	for ok := e.open('{', '}'); ok; ok = e.more('}') {
		name := e.bytes(e.key())
		switch string(name) {
		case "text":
			e.readLane(part{key: laneKey{form: formText, index: index}}, true)
		case "delta":
			e.readDelta(index)
		case "logprobs":
			e.skip() // single tokens, which are shorter than a placeholder
		default:
			e.readValue(meaningOf(name), false)
		}
	}
}

func (e *event) readChoiceHead() (index int32, reason []byte) {
	for ok := e.open('{', '}'); ok; ok = e.more('}') {
		switch string(e.bytes(e.key())) {
		case "index":
			index = e.integer()
		case "finish_reason":
			if v := e.value(); !e.bad && e.b[v.start] == '"' {
				reason = e.b[v.start+1 : v.end-1]
			}
		default:
			e.skip()
		}
	}
	return index, reason
}

// readDelta reads the delta of a choice. Every string in it is a lane, because
// reasoning has different names: reasoning_content, reasoning, thinking.
func (e *event) readDelta(index int32) {
	if e.peek() != '{' {
		e.readValue(meansText, false)
		return
	}
	for ok := e.open('{', '}'); ok; ok = e.more('}') {
		name := e.key()
		switch yes, _ := meaningOf(e.bytes(name)).restores(false); {
		case string(e.bytes(name)) == "tool_calls":
			e.readToolCalls(index)
		case string(e.bytes(name)) == "function_call":
			e.readCall(part{key: laneKey{form: formFunctionCall, index: index}, nested: true}, "arguments")
		case yes:
			key := laneKey{form: formDelta, index: index, name: hash(e.bytes(name))}
			e.readLane(part{key: key, name: name}, tokenName(e.bytes(name)))
		default:
			e.skip()
		}
	}
}

// tokenName reports whether a delta's member holds text of the model.
func tokenName(name []byte) bool {
	switch string(name) {
	case "content", "reasoning_content", "reasoning", "thinking", "refusal":
		return true
	}
	return false
}

func (e *event) readToolCalls(index int32) {
	if e.peek() != '[' {
		e.readValue(meansText, false)
		return
	}
	n := int32(0)
	for ok := e.open('[', ']'); ok; ok = e.more(']') {
		e.readToolCall(index, n)
		n++
	}
}

// readToolCall reads one entry of tool_calls. An entry without an index gets its
// position.
func (e *event) readToolCall(index, item int32) {
	if e.peek() != '{' {
		e.readValue(meansText, false)
		return
	}
	start := e.i
	for ok := e.open('{', '}'); ok; ok = e.more('}') {
		if string(e.bytes(e.key())) == "index" {
			item = e.integer()
		} else {
			e.skip()
		}
	}
	e.i = start
	for ok := e.open('{', '}'); ok; ok = e.more('}') {
		name := e.bytes(e.key())
		switch string(name) {
		case "function":
			e.readCall(part{key: laneKey{form: formArguments, index: index, item: item}, nested: true}, "arguments")
		case "custom":
			e.readCall(part{key: laneKey{form: formCustomInput, index: index, item: item}}, "input")
		default:
			e.readValue(meaningOf(name), false)
		}
	}
}

// readCall reads the object of a call, with its named member as the lane p. A call
// counts as a token before its arguments begin.
func (e *event) readCall(p part, lane string) {
	if e.peek() != '{' {
		e.readValue(meansText, false)
		return
	}
	e.tally.firstToken()
	for ok := e.open('{', '}'); ok; ok = e.more('}') {
		name := e.bytes(e.key())
		if string(name) == lane {
			e.readLane(p, true)
		} else {
			e.readValue(meaningOf(name), false)
		}
	}
}
