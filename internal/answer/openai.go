// SPDX-License-Identifier: Apache-2.0

package answer

// openAI reads a chunk of chat completions or completions: vLLM, SGLang,
// llama.cpp, TensorRT-LLM and all others that speak OpenAI's dialect.
func (e *event) openAI() {
	choices, usage := 0, false
	for _, m := range e.members {
		if e.observed(m) {
			usage = usage || e.b[m.value.start] == '{' && string(e.bytes(m.name)) == "usage"
			continue
		}
		name := e.bytes(m.name)
		if string(name) != "choices" || e.b[m.value.start] != '[' {
			e.whole(roleOf(name), false)
			continue
		}
		for ok := e.open('[', ']'); ok; ok = e.more(']') {
			e.choice()
			choices++
		}
	}
	e.usageOnly = usage && choices == 0
}

// choice reads one choice, twice: its index and its end come first, wherever
// they stand.
func (e *event) choice() {
	if e.peek() != '{' {
		e.whole(roleText, false)
		return
	}
	start := e.i
	index, reason := e.choiceHead()
	e.tally.choice(index, reason)
	if len(reason) > 0 {
		e.end(ending{index: index})
	}
	if !e.restoring && e.tally.token {
		return
	}
	e.i = start
	for ok := e.open('{', '}'); ok; ok = e.more('}') {
		name := e.bytes(e.key())
		switch string(name) {
		case "text":
			e.lane(part{key: laneKey{form: formText, index: index}}, true)
		case "delta":
			e.delta(index)
		case "logprobs":
			e.skip() // tokens: placeholders are longer than these
		default:
			e.whole(roleOf(name), false)
		}
	}
}

func (e *event) choiceHead() (index int32, reason []byte) {
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

// delta reads the delta of a choice. Every string in it is a lane by its name:
// engines call their reasoning reasoning_content, reasoning or thinking.
func (e *event) delta(index int32) {
	if e.peek() != '{' {
		e.whole(roleText, false)
		return
	}
	for ok := e.open('{', '}'); ok; ok = e.more('}') {
		name := e.key()
		r := roleOf(e.bytes(name))
		switch yes, _ := r.restores(false); {
		case string(e.bytes(name)) == "tool_calls":
			e.toolCalls(index)
		case string(e.bytes(name)) == "function_call":
			e.function(part{key: laneKey{form: formFunctionCall, index: index}, nested: true}, "arguments")
		case yes:
			key := laneKey{form: formDelta, index: index, name: hash(e.bytes(name))}
			e.lane(part{key: key, name: name}, tokenName(e.bytes(name)))
		default:
			e.skip()
		}
	}
}

// tokenName tells whether the text of a delta's member comes from the model.
func tokenName(name []byte) bool {
	switch string(name) {
	case "content", "reasoning_content", "reasoning", "thinking", "refusal":
		return true
	}
	return false
}

func (e *event) toolCalls(index int32) {
	if e.peek() != '[' {
		e.whole(roleText, false)
		return
	}
	n := int32(0)
	for ok := e.open('[', ']'); ok; ok = e.more(']') {
		e.toolCall(index, n)
		n++
	}
}

// toolCall reads one entry of tool_calls; those without an index are told apart
// by their position.
func (e *event) toolCall(index, item int32) {
	if e.peek() != '{' {
		e.whole(roleText, false)
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
			e.function(part{key: laneKey{form: formArguments, index: index, item: item}, nested: true}, "arguments")
		case "custom":
			e.function(part{key: laneKey{form: formCustomInput, index: index, item: item}}, "input")
		default:
			e.whole(roleOf(name), false)
		}
	}
}

// function reads the object of a call, whose named member is the lane p. A call
// is a token of the answer before its arguments begin.
func (e *event) function(p part, lane string) {
	if e.peek() != '{' {
		e.whole(roleText, false)
		return
	}
	e.tally.firstToken()
	for ok := e.open('{', '}'); ok; ok = e.more('}') {
		name := e.bytes(e.key())
		if string(name) == lane {
			e.lane(p, true)
		} else {
			e.whole(roleOf(name), false)
		}
	}
}
