// SPDX-License-Identifier: Apache-2.0

package answer

import (
	"bytes"
	"strconv"
)

const (
	// maxLanes bounds the lanes of one answer with text held back, maxTemplate
	// the size in bytes of an event that text is held back from. Beyond them
	// nothing is held back.
	maxLanes    = 128
	maxTemplate = 32 << 10
)

// lane is one text of a streamed answer, such as the content of a choice or the
// arguments of a call, with its end held back. Only the lane's own end releases
// that: a placeholder may go on behind the events of other lanes.
//
// It keeps a template of an event to release the text with: its last event,
// reduced to this one text.
type lane struct {
	key   laneKey
	held  tail
	event []byte // the template
	at    int    // offset of the text in event
	used  bool
}

// lanes holds the lanes in use. Slots are reused.
type lanes struct {
	slots []*lane
	used  int
}

func (l *lanes) find(key laneKey) *lane {
	if l.used == 0 {
		return nil
	}
	for _, slot := range l.slots {
		if slot.used && slot.key == key {
			return slot
		}
	}
	return nil
}

// full reports whether every lane is in use.
func (l *lanes) full() bool { return l.used == maxLanes }

func (l *lanes) take(key laneKey) *lane {
	l.used++
	for _, slot := range l.slots {
		if !slot.used {
			slot.used, slot.key = true, key
			return slot
		}
	}
	slot := &lane{key: key, used: true}
	l.slots = append(l.slots, slot)
	return slot
}

func (l *lanes) drop(slot *lane) {
	slot.used, slot.held.n = false, 0
	l.used--
}

// template makes the lane's template from the event e: its raw bytes, with the data
// at a span. p is the lane's part.
//
// Clients must not read anything twice, since they add up repeated tool names. So
// the choice gets this text only, usage and timings become null, and other texts
// empty.
func (l *lane) template(e *event, raw []byte, at span, p *part) {
	b := append(l.event[:0], raw[:at.start]...)
	begin, from := len(b), at.start
	for _, m := range e.members {
		instead := ""
		switch name := e.bytes(m.name); {
		case string(name) == "usage" || string(name) == "timings":
			instead = "null"
		case string(name) == "logprobs":
			instead = "[]"
		case string(name) == "choices" && p.key.form != formEvent:
			b = append(b, e.b[from:m.value.start]...)
			b, l.at = appendChoice(b, e, p)
			from = m.value.end
			continue
		default:
			b, from = l.blank(b, e, m.value, from, p)
			continue
		}
		b = append(b, e.b[from:m.value.start]...)
		b = append(b, instead...)
		from = m.value.end
	}
	b = append(b, e.b[from:at.end]...)
	for i, ch := range b[begin:] {
		if ch == '\n' || ch == '\r' { // between lines of data
			b[begin+i] = ' '
		}
	}
	b = append(b, raw[at.end:]...)
	if bytes.HasSuffix(b, []byte("\r\n\r")) {
		b = append(b, '\n') // its LF has not come yet
	}
	l.event = b
}

// blank copies a member without the lanes' texts in it.
func (l *lane) blank(b []byte, e *event, value span, from int, p *part) ([]byte, int) {
	for i := range e.parts {
		other := &e.parts[i]
		if !other.lane || other.text.start < value.start || other.text.end > value.end {
			continue
		}
		b = append(b, e.b[from:other.text.start]...)
		if other == p {
			l.at = len(b)
		}
		from = other.text.end
	}
	return b, from
}

// appendChoice appends an array of one choice with the lane's text as its delta,
// and returns the offset of the text.
func appendChoice(b []byte, e *event, p *part) (_ []byte, at int) {
	b = append(b, `[{"index":`...)
	b = strconv.AppendInt(b, int64(p.key.index), 10)
	closing := ""
	switch p.key.form {
	case formText:
		b, closing = append(b, `,"text":"`...), `"`
	case formDelta:
		b = append(b, `,"delta":{"`...)
		b = append(b, e.bytes(p.name)...)
		b, closing = append(b, `":"`...), `"}`
	case formFunctionCall:
		b, closing = append(b, `,"delta":{"function_call":{"arguments":"`...), `"}}`
	case formArguments:
		b = appendTool(b, p.key.item)
		b, closing = append(b, `,"function":{"arguments":"`...), `"}}]}`
	case formCustomInput:
		b = appendTool(b, p.key.item)
		b, closing = append(b, `,"custom":{"input":"`...), `"}}]}`
	}
	at = len(b)
	b = append(b, closing...)
	return append(b, `,"logprobs":null,"finish_reason":null}]`...), at
}

func appendTool(b []byte, item int32) []byte {
	b = append(b, `,"delta":{"tool_calls":[{"index":`...)
	return strconv.AppendInt(b, int64(item), 10)
}
