// SPDX-License-Identifier: Apache-2.0

package prompt

// addContent lists the content of a message: a string, a list of parts, or null.
// A list of one text part is listed like the string, since engines render both
// alike. Any other value is refused with wrong, or listed raw when wrong is nil.
// The texts get the given traits.
func (d *Document) addContent(n uint32, traits Text, kind SegmentKind, wrong *Error) error {
	nodes := d.tape.nodes
	switch k := nodes[n].kind; {
	case k == kindNull:
		return nil
	case k == kindString:
		d.addString(n, traits, kind)
		return nil
	case k != kindArray && wrong != nil:
		return wrong
	case k != kindArray:
		d.addRaw(d.tape.raw(n))
		d.sweepNode(n)
		return nil
	}
	for p := n + 1; p < nodes[n].next; p = nodes[p].next {
		before := len(d.Texts)
		plain, err := d.addPart(p, traits, kind, wrong)
		if err != nil {
			return err
		}
		// An empty text part does not separate its neighbours.
		traits.Join = plain && (traits.Join || len(d.Texts) > before)
	}
	return nil
}

// addString lists one string of text, unless it is empty: some clients write ""
// where others write null or nothing.
func (d *Document) addString(n uint32, traits Text, kind SegmentKind) {
	if v := &d.tape.nodes[n]; v.start < v.end {
		d.addSegment(kind, n)
		d.addText(n, traits)
	}
}

// addPart lists one content part or block, and reports whether it is plain text.
func (d *Document) addPart(n uint32, traits Text, kind SegmentKind, wrong *Error) (plain bool, err error) {
	switch k := d.tape.nodes[n].kind; {
	case k == kindString:
		d.addString(n, traits, kind)
		return true, nil
	case k != kindObject && wrong != nil:
		return false, wrong
	case k != kindObject:
		d.addRaw(d.tape.raw(n))
		d.sweepNode(n)
		return false, nil
	}
	d.skipPartIDs(n)
	if text := d.partText(n, &kind); text != 0 {
		d.addString(text, traits, kind)
		return true, nil
	}
	d.addSegment(SegmentType, d.stringNode(d.find(n, nameType)))
	switch {
	case d.isToolUse(n):
		d.addName(d.find(n, nameName))
		if input := d.find(n, nameInput); input != 0 {
			d.addRaw(d.tape.raw(input))
		}
	case d.isToolResult(n) && !traits.Loose: // not inside another one, or nesting would have no bound
		if c := d.find(n, nameContent); c != 0 {
			err = d.addContent(c, Text{Nested: true, Loose: true}, SegmentText, nil)
		}
	default:
		d.skipMedia(n)
		d.addRawExcept(n, nameCacheControl)
	}
	d.sweepNode(n)
	return false, err
}

// skipPartIDs leaves out the identifiers and constants of a part.
func (d *Document) skipPartIDs(n uint32) {
	nodes := d.tape.nodes
	for k := n + 1; k < nodes[n].next; k = nodes[k+1].next {
		switch nodes[k].name {
		case nameType, nameID, nameToolUseID, nameCallID, nameFileID, nameDetail, nameFormat,
			nameMediaType, nameStatus, nameCacheControl:
			d.skipID(k + 1)
		case nameSignature, nameEncryptedContent:
			d.skipOpaque(k + 1)
		case nameUUID:
			d.takeMembers(n, placePart)
		}
	}
}

// partText returns the string node of a part of plain text, or 0. It sets kind for
// reasoning.
func (d *Document) partText(n uint32, kind *SegmentKind) uint32 {
	member := nameNone
	if typ := d.find(n, nameType); typ == 0 {
		member = nameText
	} else if d.tape.nodes[typ].kind == kindString {
		switch string(d.text(typ)) {
		case "text", "input_text", "output_text", "summary_text", "reasoning_text":
			member = nameText
		case "refusal":
			member = nameRefusal
		case "thinking":
			member, *kind = nameThinking, SegmentReasoning
		}
	}
	if member == nameNone {
		return 0
	}
	if text := d.find(n, member); text != 0 && d.tape.nodes[text].kind == kindString {
		return text
	}
	return 0
}

// stringNode returns n when it is a string, else 0.
func (d *Document) stringNode(n uint32) uint32 {
	if n != 0 && d.tape.nodes[n].kind == kindString {
		return n
	}
	return 0
}

func (d *Document) isToolUse(n uint32) bool {
	typ := d.find(n, nameType)
	return d.is(typ, "tool_use") || d.is(typ, "server_tool_use") || d.is(typ, "mcp_tool_use")
}

func (d *Document) isToolResult(n uint32) bool {
	typ := d.find(n, nameType)
	return d.is(typ, "tool_result") || d.is(typ, "mcp_tool_result")
}

// skipMedia leaves out base64 data, data URLs and ids in and below an image, audio
// or file part. Other URLs, file names and plain text stay.
func (d *Document) skipMedia(n uint32) {
	nodes := d.tape.nodes
	for k := n + 1; k < nodes[n].next; k++ {
		if nodes[k].kind != kindKey {
			continue
		}
		switch nodes[k].name {
		case nameData, nameFileData, nameImageEmbeds, nameAudioEmbeds, namePromptEmbeds,
			nameEncryptedContent, nameSignature:
			if nodes[k+1].kind == kindString {
				d.skipOpaque(k + 1)
			}
		case nameType, nameID, nameFileID, nameDetail, nameFormat, nameMediaType, nameStatus,
			nameCallID:
			if nodes[k+1].kind == kindString {
				d.skipID(k + 1)
			}
		}
	}
}
