// SPDX-License-Identifier: Apache-2.0

package prompt

// chatDialect is https://platform.openai.com/docs/api-reference/chat.
var chatDialect = Dialect{
	Name:           "chat",
	Suffixes:       []string{"/chat/completions"},
	Prompt:         "messages",
	Signable:       true,
	UsageOnRequest: true,
	Path:           "/v1/chat/completions",
	OneToken:       map[string]string{"max_tokens": "1"},
	RenderPath:     "/v1/chat/completions/render",
	TokenizeMembers: map[string]bool{
		"model": true, "messages": true, "tools": true, "chat_template": true, "chat_template_kwargs": true,
		"add_generation_prompt": true, "continue_final_message": true, "add_special_tokens": true,
		"media_io_kwargs": true, "mm_processor_kwargs": true,
	},
	list: (*Document).chatPrompt,
}

// chatPrompt lists options, tools, then the messages: templates render the
// tools before the system message.
func (d *Document) chatPrompt() error {
	if d.top[nameMessages] == 0 {
		return errNoMessages
	}
	d.addStartMembers()
	tools, err := d.addTools(nameTools, errTools)
	if err != nil {
		return err
	}
	functions, err := d.addTools(nameFunctions, errFunctions)
	if err != nil {
		return err
	}
	return d.addMessages(d.top[nameMessages], tools || functions, errMessages)
}
