// SPDX-License-Identifier: Apache-2.0

package prompt

// addItems lists a string, or each element of a list, as an item of its own.
// Numbers are token ids. Other types are refused with wrong, unless it is nil.
func (d *Document) addItems(n uint32, wrong *Error) error {
	nodes := d.tape.nodes
	switch nodes[n].kind {
	case kindString, kindObject:
		d.addItem(n)
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
			if d.hasNumbers(e) {
				d.TokenIDs = true
			}
			d.addItem(e)
		default:
			if wrong != nil {
				return wrong
			}
		}
	}
	return nil
}

// hasNumbers reports whether n is a list with numbers in it.
func (d *Document) hasNumbers(n uint32) bool {
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

// addItem lists all of node n under the next item number.
func (d *Document) addItem(n uint32) {
	d.items++
	d.item = d.items
	if d.tape.nodes[n].kind == kindObject {
		d.skipMedia(n)
	}
	d.sweepNode(n)
}

// tokenMembers are the top-level members with token ids or embeddings.
var tokenMembers = [...]name{
	nameInputIDs, nameInputEmbeds, namePromptTokenIDs, namePromptEmbeds, nameTokenIDs, nameTokens,
}

// findTokenIDs sets TokenIDs when a prompt has a form that no scrubber can read.
func (d *Document) findTokenIDs() {
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
	if p := d.top[namePrompt]; p != 0 && d.hasNumbers(p) {
		d.TokenIDs = true
	}
}
