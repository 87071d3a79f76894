// SPDX-License-Identifier: Apache-2.0

package answer

// readAnthropic reads an event of Anthropic's messages API, and any other event
// with a type.
func (e *event) readAnthropic() {
	kind := e.kind()
	index := e.integerMember("index")
	switch string(kind) {
	case "message_start":
		e.observeMessage()
	case "content_block_start":
		e.observeBlock()
		e.addEnding(ending{events: true, index: index})
	case "content_block_stop":
		e.addEnding(ending{events: true, index: index})
	case "message_delta":
		e.observeStop()
		e.addEnding(ending{all: true})
	case "message_stop":
		e.tally.report()
		e.tally.over = true
		e.addEnding(ending{all: true})
	}
	for _, m := range e.members {
		if e.readCounts(m) {
			continue
		}
		name := e.bytes(m.name)
		if string(kind) == "content_block_delta" && string(name) == "delta" {
			e.readBlockDelta(index)
		} else {
			e.readValue(meaningOf(name), false)
		}
	}
}

// readBlockDelta reads the delta of a content block: text, thinking or the
// partial_json of a tool's input.
func (e *event) readBlockDelta(index int32) {
	if e.peek() != '{' {
		e.readValue(meansText, false)
		return
	}
	for ok := e.open('{', '}'); ok; ok = e.more('}') {
		name := e.bytes(e.key())
		if yes, nested := meaningOf(name).restores(false); yes {
			e.readLane(part{key: laneKey{form: formEvent, index: index, name: hash(name)}, nested: nested}, true)
		} else {
			e.skip()
		}
	}
}

// observeMessage reads the usage of a message_start.
func (e *event) observeMessage() {
	v, ok := e.find("message")
	if !ok || e.b[v.start] != '{' {
		return
	}
	e.i = v.start
	for ok := e.open('{', '}'); ok; ok = e.more('}') {
		if meaningOf(e.bytes(e.key())) == meansUsage {
			e.tally.counts.readUsage(&e.cursor)
		} else {
			e.skip()
		}
	}
}

// observeBlock counts as a token the beginning of a tool call, and text at the
// beginning of its block.
func (e *event) observeBlock() {
	v, ok := e.find("content_block")
	if !ok || e.b[v.start] != '{' {
		return
	}
	e.i = v.start
	for ok := e.open('{', '}'); ok; ok = e.more('}') {
		name := e.bytes(e.key())
		if e.peek() != '"' {
			e.skip()
			continue
		}
		text := e.text()
		switch string(name) {
		case "type":
			if string(e.bytes(text)) == "tool_use" {
				e.tally.firstToken()
			}
		case "text", "thinking":
			if !text.empty() {
				e.tally.firstToken()
			}
		}
	}
}

// observeStop reads the stop_reason of a message_delta.
func (e *event) observeStop() {
	v, ok := e.find("delta")
	if !ok || e.b[v.start] != '{' {
		return
	}
	e.i = v.start
	for ok := e.open('{', '}'); ok; ok = e.more('}') {
		if meaningOf(e.bytes(e.key())) == meansStopReason && e.peek() == '"' {
			if reason := e.text(); !reason.empty() {
				e.tally.finish(e.bytes(reason))
			}
		} else {
			e.skip()
		}
	}
}
