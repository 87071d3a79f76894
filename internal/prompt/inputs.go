// SPDX-License-Identifier: Apache-2.0

package prompt

// completions: one prompt, or a list of them.
func (d *Document) completions() error {
	p := d.top[namePrompt]
	if e := d.top[namePromptEmbeds]; e != 0 && d.tape.nodes[e].kind != kindNull {
		d.TokenIDs = true
		d.skipOpaque(e)
		if p == 0 {
			return nil
		}
	}
	if p == 0 {
		return errNoPrompt
	}
	nodes := d.tape.nodes
	only := p
	if nodes[p].kind == kindArray && nodes[p].next == p+2 {
		only = p + 1 // a list of one prompt is that prompt
	}
	if nodes[only].kind == kindString {
		d.segment(SegmentText, only)
		d.emit(only, Text{})
		return nil
	}
	if nodes[p].kind == kindNull && d.TokenIDs {
		return nil
	}
	if err := d.inputs(p, errPrompt); err != nil {
		return err
	}
	d.ManyPrompts = d.items > 0
	return nil
}

// embeddings: independent inputs, or one chat.
func (d *Document) embeddings() error {
	d.noteTokenIDs()
	found := false
	for _, n := range [...]name{nameInput, nameInputs, nameTexts, nameText} {
		if v := d.top[n]; v != 0 {
			found = true
			if err := d.inputs(v, errInput); err != nil {
				return err
			}
		}
	}
	if m := d.top[nameMessages]; m != 0 {
		d.item = 0
		return d.messages(m, false, errMessages)
	}
	if !found && !d.TokenIDs {
		return errNoInput
	}
	return nil
}

// pairs: texts that are compared with each other. Each is numbered by itself,
// or the score of one document would depend on its neighbours.
func (d *Document) pairs() error {
	d.noteTokenIDs()
	for _, n := range [...]name{
		nameQuery, nameQueries, nameText1, nameData1, nameDocuments, nameTexts, nameItems,
		nameText2, nameData2, nameInput,
	} {
		if v := d.top[n]; v != 0 && d.tape.nodes[v].kind != kindNull {
			if err := d.inputs(v, nil); err != nil {
				return err
			}
		}
	}
	return nil
}

// inputs lists a string, or each element of a list, as an item of its own.
// Numbers are token ids. Other types are refused with wrong, if that is given.
func (d *Document) inputs(n uint32, wrong *Error) error {
	nodes := d.tape.nodes
	switch nodes[n].kind {
	case kindString, kindObject:
		d.input(n)
		return nil
	case kindArray:
	default:
		if wrong == nil {
			return nil
		}
		return wrong
	}
	for e := n + 1; e < nodes[n].next; e = nodes[e].next {
		switch nodes[e].kind {
		case kindNumber:
			d.TokenIDs = true
		case kindArray, kindString, kindObject:
			if d.numbers(e) {
				d.TokenIDs = true
			}
			d.input(e)
		default:
			if wrong != nil {
				return wrong
			}
		}
	}
	return nil
}

// numbers reports whether n is a list with numbers in it.
func (d *Document) numbers(n uint32) bool {
	nodes := d.tape.nodes
	if nodes[n].kind != kindArray {
		return false
	}
	for e := n + 1; e < nodes[n].next; e = nodes[e].next {
		if nodes[e].kind == kindNumber {
			return true
		}
	}
	return false
}

// input lists everything in node n under the next item number.
func (d *Document) input(n uint32) {
	d.items++
	d.item = d.items
	if d.tape.nodes[n].kind == kindObject {
		d.media(n)
	}
	d.sweepNode(n)
}

// tokenMembers carry token ids or embeddings at the top of a request.
var tokenMembers = [...]name{
	nameInputIDs, nameInputEmbeds, namePromptTokenIDs, namePromptEmbeds, nameTokenIDs, nameTokens,
}

// noteTokenIDs recognises prompts in a form no scrubber can read.
func (d *Document) noteTokenIDs() {
	for _, n := range tokenMembers {
		v := d.top[n]
		if v == 0 {
			continue
		}
		switch d.tape.nodes[v].kind {
		case kindArray:
			d.TokenIDs = d.TokenIDs || d.tape.nodes[v].next > v+1
		case kindString:
			if n == namePromptEmbeds || n == nameInputEmbeds {
				d.TokenIDs = true
				d.skipOpaque(v)
			}
		}
	}
	if p := d.top[namePrompt]; p != 0 && d.numbers(p) {
		d.TokenIDs = true
	}
}
