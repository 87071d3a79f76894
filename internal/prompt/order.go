// SPDX-License-Identifier: Apache-2.0

package prompt

// prompt lists the texts and segments the engine renders, in its order.
func (d *Document) prompt() error {
	if d.InsertAt == 0 {
		return nil
	}
	switch d.API {
	case Chat:
		return d.chat()
	case Completions:
		return d.completions()
	case Responses:
		return d.responses()
	case Messages:
		return d.messagesAPI()
	case Embeddings:
		return d.embeddings()
	case Rerank, Score:
		return d.pairs()
	case Tokenize:
		return d.tokenize()
	}
	d.noteTokenIDs()
	return nil
}

// The members that change the start of what chat templates render.
var options = [...]name{nameChatTemplate, nameChatTemplateKwargs, nameReasoningEffort, nameDocuments}

// chat: templates render tools first, then the system message, then the others.
func (d *Document) chat() error {
	if d.top[nameMessages] == 0 {
		return errNoMessages
	}
	for _, o := range options {
		d.option(d.top[o])
	}
	tools, err := d.tools(nameTools, errTools)
	if err != nil {
		return err
	}
	functions, err := d.tools(nameFunctions, errFunctions)
	if err != nil {
		return err
	}
	return d.messages(d.top[nameMessages], tools || functions, errMessages)
}

// messagesAPI is Anthropic's: tools, system, messages.
func (d *Document) messagesAPI() error {
	if d.top[nameMessages] == 0 {
		return errNoMessages
	}
	tools, err := d.tools(nameTools, errTools)
	if err != nil {
		return err
	}
	system, err := d.preamble(nameSystem, errSystem)
	if err != nil {
		return err
	}
	return d.messages(d.top[nameMessages], tools || system, errMessages)
}

// responses: reasoning effort, tools, instructions, then the input, whose text
// is one message or whose items are one each.
func (d *Document) responses() error {
	input := d.top[nameInput]
	if input == 0 {
		return errNoInput
	}
	d.rememberedElsewhere()
	if r := d.top[nameReasoning]; r != 0 && d.tape.nodes[r].kind == kindObject {
		d.option(d.find(r, nameEffort))
	}
	tools, err := d.tools(nameTools, errTools)
	if err != nil {
		return err
	}
	system, err := d.preamble(nameInstructions, errInstructions)
	if err != nil {
		return err
	}
	if d.tape.nodes[input].kind == kindString {
		if tools || system {
			d.message = 1
		}
		d.segment(SegmentRole, 0)
		d.segment(SegmentText, input)
		d.emit(input, Text{})
		return nil
	}
	return d.messages(input, tools || system, errInput)
}

// rememberedElsewhere: a request that goes on from something the engine keeps
// has a prompt this body does not show, so it is not signed.
func (d *Document) rememberedElsewhere() {
	for _, n := range [...]name{namePreviousResponseID, nameConversation, namePrompt} {
		if v := d.top[n]; v != 0 && d.tape.nodes[v].kind != kindNull {
			d.sign = false
		}
	}
	d.skipID(d.top[namePreviousResponseID])
}

// tokenize takes what chat, messages and completions take, whichever it is.
func (d *Document) tokenize() error {
	d.noteTokenIDs()
	if d.top[nameMessages] != 0 {
		for _, o := range options {
			d.option(d.top[o])
		}
		tools, err := d.tools(nameTools, errTools)
		if err != nil {
			return err
		}
		system, err := d.preamble(nameSystem, errSystem)
		if err != nil {
			return err
		}
		return d.messages(d.top[nameMessages], tools || system, errMessages)
	}
	if p := d.top[namePrompt]; p != 0 {
		return d.inputs(p, errPrompt)
	}
	return nil
}

// option makes a member that changes the start of the prompt a segment, name
// and all. The order of options is fixed, whatever their order in the body.
func (d *Document) option(value uint32) {
	if value == 0 || d.tape.nodes[value].kind == kindNull {
		return
	}
	start, _ := d.tape.raw(value - 1)
	_, end := d.tape.raw(value)
	d.rawSegment(start, end)
	d.sweepNode(value)
}

// tools lists the tool definitions, but for marks that only steer caching, and
// reports whether there are any.
func (d *Document) tools(member name, wrong *Error) (bool, error) {
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
	d.rawExcept(list, nameCacheControl)
	d.sweepNode(list)
	return true, nil
}

// preamble lists a system prompt that stands outside of the messages.
func (d *Document) preamble(member name, wrong *Error) (bool, error) {
	value := d.top[member]
	if value == 0 || d.tape.nodes[value].kind == kindNull {
		return false, nil
	}
	d.segment(SegmentRole, 0)
	if d.tape.nodes[value].kind == kindArray {
		// Instructions may be items with a role, which are messages themselves.
		return true, d.blocks(value, wrong)
	}
	return true, d.content(value, Text{}, SegmentText, wrong)
}

// blocks lists a list of content blocks or of whole items.
func (d *Document) blocks(list uint32, wrong *Error) error {
	nodes := d.tape.nodes
	of := Text{}
	for n := list + 1; n < nodes[list].next; n = nodes[n].next {
		if nodes[n].kind == kindObject && d.find(n, nameContent) != 0 && d.find(n, nameRole) != 0 {
			if err := d.turn(n); err != nil {
				return err
			}
			of.Join = false
			continue
		}
		before := len(d.Texts)
		plain, err := d.part(n, of, SegmentText, wrong)
		if err != nil {
			return err
		}
		of.Join = plain && (of.Join || len(d.Texts) > before)
	}
	d.sweepNode(list)
	return nil
}

// messages lists the turns. head tells that something of the first block is
// listed already.
func (d *Document) messages(list uint32, head bool, wrong *Error) error {
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
		if err := d.turn(n); err != nil {
			return err
		}
	}
	return nil
}

func (d *Document) isSystem(message uint32) bool {
	role := d.find(message, nameRole)
	return d.is(role, "system") || d.is(role, "developer")
}

// segment adds the string node n (0: nothing, empty) as a segment.
func (d *Document) segment(kind SegmentKind, n uint32) {
	if !d.sign {
		return
	}
	s := Segment{Kind: kind, Message: d.message}
	if n != 0 {
		v := &d.tape.nodes[n]
		s.Start, s.End, s.Escaped = int(v.start), int(v.end), v.escaped()
	}
	d.Segments = append(d.Segments, s)
}

func (d *Document) rawSegment(start, end int) {
	if d.sign {
		d.Segments = append(d.Segments, Segment{Start: start, End: end, Kind: SegmentRaw, Message: d.message})
	}
}

// rawExcept adds value n as raw segments that leave out the members called
// not of n itself or, when n is a list, of its elements. What is left reads as
// if they had never been there.
func (d *Document) rawExcept(n uint32, not name) {
	if !d.sign {
		return
	}
	start, end := d.tape.raw(n)
	first := len(d.Segments)
	if d.tape.nodes[n].kind == kindObject {
		start = d.cut(n, not, start)
	} else if d.tape.nodes[n].kind == kindArray {
		for e := n + 1; e < d.tape.nodes[n].next; e = d.tape.nodes[e].next {
			if d.tape.nodes[e].kind == kindObject {
				start = d.cut(e, not, start)
			}
		}
	}
	d.rawSegment(start, end)
	for i := first + 1; i < len(d.Segments); i++ {
		d.Segments[i].Kind = SegmentRest
	}
}

// cut adds what stands from start to the object's member called not, with the
// comma that goes with the member left out, and returns where to go on.
func (d *Document) cut(object uint32, not name, start int) int {
	nodes := d.tape.nodes
	for k := object + 1; k < nodes[object].next; k = nodes[k+1].next {
		if nodes[k].name != not {
			continue
		}
		from, _ := d.tape.raw(k)
		_, to := d.tape.raw(k + 1)
		if k > object+1 {
			from = d.commaBefore(from)
		} else if after := nodes[k+1].next; after < nodes[object].next {
			to, _ = d.tape.raw(after)
		}
		d.rawSegment(start, from)
		return to
	}
	return start
}

// commaBefore returns the offset of the comma in front of i, between which
// there is only white space.
func (d *Document) commaBefore(i int) int {
	for d.Body[i] != ',' {
		i--
	}
	return i
}
