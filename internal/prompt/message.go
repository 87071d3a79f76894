// SPDX-License-Identifier: Apache-2.0

package prompt

// messageMembers holds the value nodes of the known members of one message or
// item; 0 is none.
type messageMembers struct {
	role, kind, name, content, reasoning, reasoningContent, refusal, summary,
	toolCalls, functionCall, arguments, input, output uint32
}

// addMessage lists one message, or one item of the Responses API. The order of its
// segments is fixed, because SDKs differ in the order of the members.
func (d *Document) addMessage(object uint32) error {
	m := d.members(object)
	if err := d.addRole(&m); err != nil {
		return err
	}
	if m.role == 0 && d.isOpaqueItem(&m) {
		d.skipMedia(object)
		d.addRawExcept(object, nameCacheControl)
		d.sweepNode(object)
		return nil
	}
	// A tool's result is often JSON with escapes of its own.
	result := Text{Nested: true, Loose: true}
	traits := Text{}
	if d.is(m.role, "tool") || d.is(m.role, "function") {
		traits = result
	}
	steps := [...]struct {
		node uint32
		text Text
		kind SegmentKind
		err  *Error
	}{
		{m.reasoning, Text{}, SegmentReasoning, nil},
		{m.reasoningContent, Text{}, SegmentReasoning, nil},
		{m.summary, Text{}, SegmentReasoning, nil},
		{m.content, traits, SegmentText, errContent},
		{m.refusal, Text{}, SegmentText, nil},
		{m.arguments, Text{Nested: true}, SegmentArguments, nil},
		{m.input, Text{}, SegmentArguments, nil},
		{m.output, result, SegmentText, nil},
	}
	for i := range steps {
		if s := &steps[i]; s.node != 0 {
			if err := d.addContent(s.node, s.text, s.kind, s.err); err != nil {
				return err
			}
		}
	}
	if err := d.addCalls(&m); err != nil {
		return err
	}
	d.sweepNode(object)
	return nil
}

// members collects the known members and leaves out the identifiers among them.
func (d *Document) members(object uint32) (m messageMembers) {
	nodes := d.tape.nodes
	for k := object + 1; k < nodes[object].next; k = nodes[k+1].next {
		v := k + 1
		switch nodes[k].name {
		case nameRole:
			m.role = v
		case nameType:
			m.kind = v
		case nameName:
			m.name = v
		case nameContent:
			m.content = v
		case nameReasoning:
			m.reasoning = v
		case nameReasoningContent:
			m.reasoningContent = v
		case nameRefusal:
			m.refusal = v
		case nameToolCalls:
			m.toolCalls = v
		case nameFunctionCall:
			m.functionCall = v
		case nameID, nameToolCallID, nameCallID, nameStatus, nameObject, nameCacheControl:
			d.skipID(v)
		case nameEncryptedContent, nameSignature:
			d.skipOpaque(v)
		}
	}
	if d.dialect.items {
		m.summary, m.arguments = d.find(object, nameSummary), d.find(object, nameArguments)
		m.input, m.output = d.find(object, nameInput), d.find(object, nameOutput)
	}
	return m
}

// addRole lists role, else type, and name.
func (d *Document) addRole(m *messageMembers) error {
	if m.role != 0 && d.tape.nodes[m.role].kind != kindString {
		return errRole
	}
	d.skipID(m.role)
	d.skipID(m.kind)
	first := m.role
	if first == 0 && m.kind != 0 && d.tape.nodes[m.kind].kind == kindString {
		first = m.kind
	}
	d.addSegment(SegmentRole, first)
	if first != 0 {
		d.addText(first, Text{})
	}
	d.addName(m.name)
	return nil
}

// addName lists the name of a participant or function, when it is a string.
func (d *Document) addName(n uint32) {
	if n != 0 && d.tape.nodes[n].kind == kindString {
		d.addSegment(SegmentName, n)
		d.addText(n, Text{})
	}
}

// isOpaqueItem reports whether an item is listed raw: it is no message, no call, no
// result of a call and no reasoning.
func (d *Document) isOpaqueItem(m *messageMembers) bool {
	if m.kind == 0 || d.tape.nodes[m.kind].kind != kindString {
		return false
	}
	switch string(d.text(m.kind)) {
	case "message", "reasoning", "function_call", "function_call_output",
		"custom_tool_call", "custom_tool_call_output":
		return false
	}
	return true
}

// addCalls lists the tool calls of an assistant's message. It leaves out their ids,
// which are random and which most templates do not render.
func (d *Document) addCalls(m *messageMembers) error {
	if f := m.functionCall; f != 0 && d.tape.nodes[f].kind == kindObject {
		d.addCall(f)
	}
	list := m.toolCalls
	if list == 0 || d.tape.nodes[list].kind == kindNull {
		return nil
	}
	nodes := d.tape.nodes
	if nodes[list].kind != kindArray {
		return errToolCalls
	}
	for c := list + 1; c < nodes[list].next; c = nodes[c].next {
		if nodes[c].kind != kindObject {
			return errToolCalls
		}
		d.skipID(d.find(c, nameID))
		d.skipID(d.find(c, nameType))
		if f := d.find(c, nameFunction); f != 0 && nodes[f].kind == kindObject {
			d.addCall(f)
		} else {
			d.addSegment(SegmentType, 0)
			d.addRawExcept(c, nameID)
		}
		d.sweepNode(c)
	}
	return nil
}

// addCall lists one function call: its name, then its arguments, which are JSON in
// a string or, from some clients, the value itself.
func (d *Document) addCall(function uint32) {
	d.addSegment(SegmentType, 0)
	d.addName(d.find(function, nameName))
	switch a := d.find(function, nameArguments); {
	case a == 0:
	case d.tape.nodes[a].kind == kindString:
		d.addSegment(SegmentArguments, a)
		d.addText(a, Text{Nested: true})
	default:
		d.addRaw(d.tape.raw(a))
	}
	d.sweepNode(function)
}
