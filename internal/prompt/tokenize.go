// SPDX-License-Identifier: Apache-2.0

package prompt

// tokenizeDialect is vLLM's and llama.cpp's tokenize, vLLM's render, and
// Anthropic's count_tokens.
var tokenizeDialect = Dialect{
	Name:     "tokenize",
	Suffixes: []string{"/tokenize", "/completions/render", "/messages/render", "/responses/render", "/messages/count_tokens"},
	list:     (*Document).tokenizePrompt,
}

// tokenizePrompt lists a prompt in the form of chat, messages, responses or
// completions.
func (d *Document) tokenizePrompt() error {
	d.findTokenIDs()
	if d.top[nameMessages] != 0 {
		d.addStartMembers()
		tools, err := d.addTools(nameTools, errTools)
		if err != nil {
			return err
		}
		system, err := d.addSystem(nameSystem, errSystem)
		if err != nil {
			return err
		}
		return d.addMessages(d.top[nameMessages], tools || system, errMessages)
	}
	if d.top[nameInput] != 0 {
		d.dialect = &responsesDialect // its items have an order of their own
		return d.responsesPrompt()
	}
	if p := d.top[namePrompt]; p != 0 {
		return d.addItems(p, errPrompt)
	}
	return nil
}
