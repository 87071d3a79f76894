// SPDX-License-Identifier: Apache-2.0

package answer

import "bytes"

const (
	// maxMembers bounds an event's members, maxParts its strings that may have
	// placeholders, maxEnds the choices that end in it. An event with more passes
	// as it is.
	maxMembers = 256
	maxParts   = 4096
	maxEnds    = 256
)

// event is one event of a stream: the strings to restore, and the lanes that end.
// Reading it also updates the tally.
//
// Members are found by name, because servers that sort them put the index or
// type of a text behind it.
type event struct {
	cursor
	tally     *tally
	restoring bool // collect parts and ends too

	members   []member
	parts     []part // in the order of their bytes
	ends      []ending
	kindText  []byte // see kind
	kindRead  bool   // kindText is set
	usageOnly bool   // the event has usage and no choices, as include_usage asks for
}

// member is a member of the event's object.
type member struct{ name, value span }

// part is a string to restore.
type part struct {
	text   span
	nested bool // JSON in a string
	lane   bool // the lane of key continues it in other events
	key    laneKey
	name   span // formDelta: the member's name
}

// laneForm is the place of a lane's text in an event.
type laneForm uint8

const (
	formEvent        laneForm = iota // one text an event: Responses, Anthropic, llama.cpp
	formText                         // choices[].text
	formDelta                        // choices[].delta.NAME
	formArguments                    // choices[].delta.tool_calls[].function.arguments
	formCustomInput                  // choices[].delta.tool_calls[].custom.input
	formFunctionCall                 // choices[].delta.function_call.arguments
)

// laneKey identifies a lane of an answer.
type laneKey struct {
	form  laneForm
	index int32  // choice, output item or content block
	item  int32  // tool call, content or summary part
	name  uint64 // hash of the text's name
}

// ending describes the lanes that get no more text.
type ending struct {
	all    bool
	events bool // lanes of formEvent, otherwise of a choice
	index  int32
	exact  bool // only those with this item and name
	item   int32
	name   uint64
}

func (e ending) covers(k laneKey) bool {
	if e.all {
		return true
	}
	return e.events == (k.form == formEvent) && e.index == k.index &&
		(!e.exact || e.item == k.item && e.name == k.name)
}

// read reads the event with the data at a span of doc. It returns false, with
// nothing to restore, when the data is not one JSON object.
func (e *event) read(doc []byte, at span) bool {
	e.reset()
	if string(bytes.TrimSpace(doc[at.start:at.end])) == "[DONE]" {
		e.addEnding(ending{all: true})
		e.tally.report()
		e.tally.over = true
		return true
	}
	e.cursor = cursor{b: doc[:at.end], i: at.start}
	if e.readMembers(); e.bad {
		return false
	}
	e.interpret()
	if e.isError() {
		e.tally.over, e.tally.failed = true, !e.isRequestFault()
	}
	if e.bad {
		e.reset()
		return false
	}
	return true
}

func (e *event) reset() {
	e.members, e.parts, e.ends = e.members[:0], e.parts[:0], e.ends[:0]
	e.usageOnly, e.kindText, e.kindRead = false, nil, false
}

// readMembers reads the whole event and lists its members.
func (e *event) readMembers() {
	for ok := e.open('{', '}'); ok; ok = e.more('}') {
		m := member{name: e.key(), value: e.value()}
		if len(e.members) == maxMembers {
			e.fail()
		}
		e.members = append(e.members, m)
	}
	if e.peek(); e.i < len(e.b) {
		e.fail()
	}
}

// find looks up a member of the event. An event with a duplicate of it fails,
// because two clients may read it differently.
func (e *event) find(name string) (span, bool) {
	var value span
	n := 0
	for _, m := range e.members {
		if string(e.bytes(m.name)) == name {
			value = m.value
			n++
		}
	}
	if n > 1 {
		e.fail()
	}
	return value, n == 1
}

// stringMember returns the raw inside of a string member, nil without one.
func (e *event) stringMember(name string) []byte {
	v, ok := e.find(name)
	if !ok || e.b[v.start] != '"' {
		return nil
	}
	return e.b[v.start+1 : v.end-1]
}

// integerMember returns the first of the named members, 0 when all are missing.
func (e *event) integerMember(names ...string) int32 {
	for _, name := range names {
		if v, ok := e.find(name); ok {
			e.i = v.start
			return e.integer()
		}
	}
	return 0
}

// readCounts reads m when it is usage or timings, which any event may have, and
// reports whether it is.
func (e *event) readCounts(m member) bool {
	e.i = m.value.start
	switch meaningOf(e.bytes(m.name)) {
	case meansUsage:
		e.tally.counts.readUsage(&e.cursor)
	case meansTimings:
		e.tally.counts.readTimings(&e.cursor)
	default:
		return false
	}
	return true
}

// readNative reads an event of llama.cpp's own completions, and any event in no
// other format.
func (e *event) readNative() {
	_, streaming := e.find("stop")
	key := laneKey{form: formEvent, index: e.integerMember("index"), name: hash([]byte("content"))}
	for _, m := range e.members {
		if e.readCounts(m) {
			continue
		}
		name := e.bytes(m.name)
		switch {
		case streaming && string(name) == "content":
			e.readLane(part{key: key}, true)
		case string(name) == "stop" && string(e.bytes(m.value)) == "true":
			e.tally.finish(nil)
			e.tally.over = true
			e.addEnding(ending{all: true})
		default:
			e.readValue(meaningOf(name), false)
		}
	}
}

// readLane reads the next piece of a lane's text. Anything but a string is a value
// of its own. token: text here is a token of the answer.
func (e *event) readLane(p part, token bool) {
	if e.peek() != '"' {
		e.readValue(meansText, false)
		return
	}
	p.lane, p.text = true, e.text()
	if token && !p.text.empty() {
		e.tally.firstToken()
	}
	e.add(p)
}

// readValue reads a value with strings that belong to no lane.
func (e *event) readValue(m meaning, free bool) {
	if !e.restoring {
		e.skip()
		return
	}
	switch e.peek() {
	case '"':
		yes, nested := m.restores(free)
		if text := e.text(); yes && mayRestore(e.bytes(text)) {
			e.add(part{text: text, nested: nested})
		}
	case '{':
		free = free || m.frees()
		for ok := e.open('{', '}'); ok; ok = e.more('}') {
			name := e.key()
			e.readValue(meaningOf(e.bytes(name)), free)
		}
	case '[':
		free = free || m.frees()
		for ok := e.open('[', ']'); ok; ok = e.more(']') {
			e.readValue(m.element(), free)
		}
	default:
		e.skip()
	}
}

func (e *event) add(p part) {
	if !e.restoring || e.bad {
		return
	}
	if len(e.parts) == maxParts {
		e.fail()
		return
	}
	e.parts = append(e.parts, p)
}

func (e *event) addEnding(end ending) {
	if len(e.ends) == maxEnds {
		e.fail()
		return
	}
	e.ends = append(e.ends, end)
}

// ended reports whether the event ends a lane.
func (e *event) ended(k laneKey) bool {
	for _, end := range e.ends {
		if end.covers(k) {
			return true
		}
	}
	return false
}

// has reports whether the event has text of a lane.
func (e *event) has(k laneKey) bool {
	for i := range e.parts {
		if e.parts[i].lane && e.parts[i].key == k {
			return true
		}
	}
	return false
}

// hash is FNV-1a, which is enough for a few short names.
func hash(name []byte) uint64 {
	h := uint64(14695981039346656037)
	for _, ch := range name {
		h = (h ^ uint64(ch)) * 1099511628211
	}
	return h
}
