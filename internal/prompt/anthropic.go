// SPDX-License-Identifier: Apache-2.0

package prompt

// messagesDialect is https://docs.anthropic.com/en/api/messages.
var messagesDialect = Dialect{
	Name:       "messages",
	Suffixes:   []string{"/messages"},
	Prompt:     "messages",
	Signable:   true,
	Errors:     AnthropicError,
	Path:       "/v1/messages",
	OneToken:   map[string]string{"max_tokens": "1"},
	RenderPath: "/v1/messages/render",
	list:       (*Document).messagesPrompt,
}

// messagesPrompt lists options, tools, system prompt, messages.
func (d *Document) messagesPrompt() error {
	if d.top[nameMessages] == 0 {
		return errNoMessages
	}
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
