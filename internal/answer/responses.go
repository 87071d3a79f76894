// SPDX-License-Identifier: Apache-2.0

package answer

import "bytes"

// readResponse reads an event of OpenAI's Responses API. Each kind of text has its
// own events: KIND.delta, then KIND.done with the full text. Events about parts,
// items and the response repeat the full texts.
func (e *event) readResponse() {
	kind := e.kind()
	base, isDelta := bytes.CutSuffix(kind, []byte(".delta"))
	if !isDelta {
		base, _ = bytes.CutSuffix(kind, []byte(".done"))
	}
	key := laneKey{
		form:  formEvent,
		index: e.integerMember("output_index"),
		item:  e.integerMember("content_index", "summary_index"),
		name:  hash(base),
	}
	e.tally.number = int(e.integerMember("sequence_number")) + 1
	e.endResponseLanes(kind, key)
	for _, m := range e.members {
		e.i = m.value.start
		switch name := e.bytes(m.name); {
		case isDelta && string(name) == "delta":
			e.readLane(part{key: key, nested: bytes.Contains(base, []byte("arguments"))}, true)
		default:
			e.readValue(meaningOf(name), false)
		}
	}
}

// endResponseLanes adds the ending of an event: of a text, an item or the answer.
func (e *event) endResponseLanes(kind []byte, key laneKey) {
	switch string(kind) {
	case "response.created", "response.queued", "response.in_progress":
		if !e.tally.responded {
			e.observeResponse()
		}
	case "response.completed", "response.incomplete":
		e.tally.finish(nil)
		e.observeResponse()
		e.tally.report()
		e.tally.over = true
		e.addEnding(ending{all: true})
	case "response.failed":
		e.observeResponse()
		e.tally.over, e.tally.failed = true, true
		e.addEnding(ending{all: true})
	case "response.output_item.added":
		e.observeItem()
	case "response.output_item.done":
		e.observeItem()
		fallthrough
	case "response.content_part.done", "response.reasoning_part.done", "response.reasoning_summary_part.done":
		e.addEnding(ending{events: true, index: key.index})
	default:
		if bytes.HasSuffix(kind, []byte(".done")) {
			e.addEnding(ending{events: true, index: key.index, exact: true, item: key.item, name: key.name})
		}
	}
}

// observeItem finds calls that the client has to answer. They count as a token,
// since the model chose their name.
func (e *event) observeItem() {
	v, ok := e.find("item")
	if !ok || e.b[v.start] != '{' {
		return
	}
	e.i = v.start
	if e.isClientCall() {
		e.tally.toolCalls = true
		e.tally.firstToken()
	}
}

// observeResponse reads the ID, the usage and the output items of the whole
// response.
func (e *event) observeResponse() {
	v, ok := e.find("response")
	if !ok || e.b[v.start] != '{' {
		return
	}
	e.i = v.start
	for ok := e.open('{', '}'); ok; ok = e.more('}') {
		switch meaningOf(e.bytes(e.key())) {
		case meansUsage:
			e.tally.counts.readUsage(&e.cursor)
		case meansOutput:
			e.observeOutput()
		case meansID:
			e.observeID()
		default:
			e.skip()
		}
	}
}

func (e *event) observeID() {
	if e.peek() != '"' {
		e.skip()
		return
	}
	if id := e.text(); !e.bad {
		e.tally.response(e.bytes(id))
	}
}

func (e *event) observeOutput() {
	if e.peek() != '[' {
		e.skip()
		return
	}
	for ok := e.open('[', ']'); ok; ok = e.more(']') {
		if e.peek() != '{' {
			e.skip()
		} else if e.isClientCall() {
			e.tally.toolCalls = true
		}
	}
}

// isClientCall reads an output item and reports whether it is a client call.
func (e *event) isClientCall() bool {
	yes := false
	for ok := e.open('{', '}'); ok; ok = e.more('}') {
		if meaningOf(e.bytes(e.key())) == meansType && e.peek() == '"' {
			yes = clientCall(e.bytes(e.text()))
		} else {
			e.skip()
		}
	}
	return yes
}

// clientCall reports whether an output item of a type asks the client to run a
// tool. Other tools, such as searches, run on the server.
func clientCall(kind []byte) bool {
	switch string(kind) {
	case "function_call", "custom_tool_call", "computer_call", "local_shell_call", "shell_call", "apply_patch_call":
		return true
	}
	return false
}
