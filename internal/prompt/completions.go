// SPDX-License-Identifier: Apache-2.0

package prompt

// completionsDialect is https://platform.openai.com/docs/api-reference/completions.
var completionsDialect = Dialect{
	Name:            "completions",
	Suffixes:        []string{"/completions"},
	Prompt:          "prompt",
	Signable:        true,
	UsageOnRequest:  true,
	Path:            "/v1/completions",
	OneToken:        map[string]string{"max_tokens": "1"},
	RenderPath:      "/v1/completions/render",
	TokenizeMembers: map[string]bool{"model": true, "prompt": true, "add_special_tokens": true},
	list:            (*Document).completionsPrompt,
}

// completionsPrompt lists one prompt, or several as items of their own.
func (d *Document) completionsPrompt() error {
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
		d.addStartMembers()
		d.addSegment(SegmentText, only)
		d.addText(only, Text{})
		return nil
	}
	if nodes[p].kind == kindNull && d.TokenIDs {
		return nil
	}
	if err := d.addItems(p, errPrompt); err != nil {
		return err
	}
	d.ManyPrompts = d.items > 0
	return nil
}
