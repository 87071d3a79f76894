// SPDX-License-Identifier: Apache-2.0

package prompt

import (
	"net/http"
	"strings"
)

// responsesDialect is https://platform.openai.com/docs/api-reference/responses.
var responsesDialect = Dialect{
	Name:       "responses",
	Suffixes:   []string{"/responses"},
	Prompt:     "input",
	Signable:   true,
	Path:       "/v1/responses",
	OneToken:   map[string]string{"max_output_tokens": "1", "store": "false"},
	RenderPath: "/v1/responses/render",
	StoredBy:   []string{"previous_response_id", "conversation", "prompt"},
	items:      true,
	list:       (*Document).responsesPrompt,
}

// responsesPrompt lists options, tools, instructions, then the input.
// An input of text is one message; one of items is a message each.
func (d *Document) responsesPrompt() error {
	input := d.top[nameInput]
	if input == 0 {
		return errNoInput
	}
	d.checkStored()
	d.addStartMembers()
	if r := d.top[nameReasoning]; r != 0 && d.tape.nodes[r].kind == kindObject {
		d.addOption(d.find(r, nameEffort))
	}
	tools, err := d.addTools(nameTools, errTools)
	if err != nil {
		return err
	}
	system, err := d.addSystem(nameInstructions, errInstructions)
	if err != nil {
		return err
	}
	if d.tape.nodes[input].kind == kindString {
		if tools || system {
			d.message = 1
		}
		d.addSegment(SegmentRole, 0)
		d.addSegment(SegmentText, input)
		d.addText(input, Text{})
		return nil
	}
	return d.addMessages(input, tools || system, errInput)
}

// checkStored turns signing off for a request that continues what the engine has
// stored, see [Dialect.StoredBy].
func (d *Document) checkStored() {
	for _, member := range d.dialect.StoredBy {
		if v := d.top[lookup([]byte(member))]; v != 0 && d.tape.nodes[v].kind != kindNull {
			d.wantSegments, d.Continues = false, true
		}
	}
	previous := d.top[namePreviousResponseID]
	d.skipID(previous)
	if previous == 0 || d.tape.nodes[previous].kind != kindString {
		return
	}
	if id := d.text(previous); len(id) <= MaxResponseID {
		d.PreviousResponse = string(id)
	}
}

// EndsResponse reports whether a request cancels or deletes a stored response:
// POST .../responses/ID/cancel or DELETE .../responses/ID. Neither has a body.
func EndsResponse(method, path string) bool {
	id := StoredResponse(path)
	if id == "" {
		return false
	}
	path = strings.TrimRight(path, "/")
	switch method {
	case http.MethodPost:
		return strings.HasSuffix(path, "/"+id+"/cancel")
	case http.MethodDelete:
		return strings.HasSuffix(path, "/responses/"+id)
	}
	return false
}

// MaxResponseID is the length of the longest ID of a stored response, in bytes.
// Longer ones are not looked at.
const MaxResponseID = 256

// StoredResponse returns the ID in a URL path that names a stored response:
// ".../responses/ID", or a path below it with one more element, such as
// ".../responses/ID/cancel". For other paths it returns "".
func StoredResponse(path string) string {
	const parent = "/responses/"
	i := strings.LastIndex(path, parent)
	if i < 0 {
		return ""
	}
	id, below, _ := strings.Cut(strings.TrimRight(path[i+len(parent):], "/"), "/")
	if len(id) > MaxResponseID || strings.Contains(below, "/") || id == "render" {
		return ""
	}
	return id
}
