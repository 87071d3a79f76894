// SPDX-License-Identifier: Apache-2.0

package prompt

// addOption lists a member that changes the start of the prompt, with its name, as
// a segment. The caller fixes the order of options, whatever it is in the body.
func (d *Document) addOption(value uint32) {
	if value == 0 || d.tape.nodes[value].kind == kindNull {
		return
	}
	start, _ := d.tape.raw(value - 1)
	_, end := d.tape.raw(value)
	d.addRaw(start, end)
	d.sweepNode(value)
}

// addTools lists the tool definitions without their cache_control, and reports
// whether there are any.
func (d *Document) addTools(member name, wrong *Error) (bool, error) {
	list := d.top[member]
	if list == 0 || d.tape.nodes[list].kind == kindNull {
		return false, nil
	}
	nodes := d.tape.nodes
	if nodes[list].kind != kindArray {
		return false, wrong
	}
	if nodes[list].next == list+1 {
		return false, nil
	}
	for tool := list + 1; tool < nodes[list].next; tool = nodes[tool].next {
		if nodes[tool].kind == kindObject {
			d.skipID(d.find(tool, nameCacheControl))
		}
	}
	d.addRawExcept(list, nameCacheControl)
	d.sweepNode(list)
	return true, nil
}

// addSystem lists a system prompt outside of the messages, and reports whether
// there is one.
func (d *Document) addSystem(member name, wrong *Error) (bool, error) {
	value := d.top[member]
	if value == 0 || d.tape.nodes[value].kind == kindNull {
		return false, nil
	}
	d.addSegment(SegmentRole, 0)
	if d.tape.nodes[value].kind == kindArray {
		// Items with a role among the instructions are messages.
		return true, d.addBlocks(value, wrong)
	}
	return true, d.addContent(value, Text{}, SegmentText, wrong)
}

// addBlocks lists content blocks and whole items.
func (d *Document) addBlocks(list uint32, wrong *Error) error {
	nodes := d.tape.nodes
	traits := Text{}
	for n := list + 1; n < nodes[list].next; n = nodes[n].next {
		if nodes[n].kind == kindObject && d.find(n, nameContent) != 0 && d.find(n, nameRole) != 0 {
			if err := d.addMessage(n); err != nil {
				return err
			}
			traits.Join = false
			continue
		}
		before := len(d.Texts)
		plain, err := d.addPart(n, traits, SegmentText, wrong)
		if err != nil {
			return err
		}
		traits.Join = plain && (traits.Join || len(d.Texts) > before)
	}
	d.sweepNode(list)
	return nil
}

// addMessages lists the messages of a list. head: something of message 0 is listed
// already.
func (d *Document) addMessages(list uint32, head bool, wrong *Error) error {
	nodes := d.tape.nodes
	if nodes[list].kind != kindArray {
		return wrong
	}
	leading := true
	for n := list + 1; n < nodes[list].next; n = nodes[n].next {
		if nodes[n].kind != kindObject {
			return wrong
		}
		switch {
		case leading && d.isSystem(n):
			head = true
		case leading:
			leading = false
			if head {
				d.message++
			}
		default:
			d.message++
		}
		if err := d.addMessage(n); err != nil {
			return err
		}
	}
	return nil
}

func (d *Document) isSystem(message uint32) bool {
	role := d.find(message, nameRole)
	return d.is(role, "system") || d.is(role, "developer")
}

// addSegment adds the string node n as a segment, an empty one when n is 0.
func (d *Document) addSegment(kind SegmentKind, n uint32) {
	if !d.wantSegments {
		return
	}
	s := Segment{Kind: kind, Message: d.message}
	if n != 0 {
		v := &d.tape.nodes[n]
		s.Start, s.End, s.Escaped = int(v.start), int(v.end), v.escaped()
	}
	d.Segments = append(d.Segments, s)
}

func (d *Document) addRaw(start, end int) {
	if d.wantSegments {
		d.Segments = append(d.Segments, Segment{Start: start, End: end, Kind: SegmentRaw, Message: d.message})
	}
}

// addRawExcept adds value n as raw segments without one member: of n itself or,
// when n is a list, of its elements. The segments read as if the member, and the
// engine members that are taken, had never been there.
func (d *Document) addRawExcept(n uint32, without name) {
	if !d.wantSegments {
		return
	}
	start, end := d.tape.raw(n)
	first := len(d.Segments)
	if d.tape.nodes[n].kind == kindObject {
		start = d.addRawBefore(n, without, start)
	} else if d.tape.nodes[n].kind == kindArray {
		for e := n + 1; e < d.tape.nodes[n].next; e = d.tape.nodes[e].next {
			if d.tape.nodes[e].kind == kindObject {
				start = d.addRawBefore(e, without, start)
			}
		}
	}
	d.addRaw(start, end)
	for i := first + 1; i < len(d.Segments); i++ {
		d.Segments[i].Kind = SegmentRest
	}
}

// addRawBefore adds the bytes from start to the last member of the object that is
// left out, without those members, and returns the offset behind them.
func (d *Document) addRawBefore(object uint32, without name, start int) int {
	nodes := d.tape.nodes
	left := false
	for k := object + 1; k < nodes[object].next; k = nodes[k+1].next {
		if nodes[k].name != without && nodes[k].flags&flagTaken == 0 {
			left = true
			continue
		}
		from, to := d.memberRange(object, k, left)
		if start < from {
			d.addRaw(start, from)
		}
		start = to
	}
	return start
}

// memberRange returns the raw range of the member with key k and of the comma by
// which it leaves the object well-formed: the one before it, if a member before it
// is left, otherwise the one behind it.
func (d *Document) memberRange(object, k uint32, left bool) (from, to int) {
	nodes := d.tape.nodes
	from, _ = d.tape.raw(k)
	_, to = d.tape.raw(k + 1)
	if left {
		from = d.commaBefore(from)
	} else if after := nodes[k+1].next; after < nodes[object].next {
		to, _ = d.tape.raw(after)
	}
	return from, to
}

// commaBefore returns the offset of the comma in front of i. Only white space
// stands between them.
func (d *Document) commaBefore(i int) int {
	for d.Body[i] != ',' {
		i--
	}
	return i
}
