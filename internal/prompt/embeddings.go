// SPDX-License-Identifier: Apache-2.0

package prompt

// embeddingsDialect is https://platform.openai.com/docs/api-reference/embeddings
// and what engines add to it.
var embeddingsDialect = Dialect{
	Name:     "embeddings",
	Suffixes: []string{"/embeddings", "/embed", "/pooling", "/classify"},
	list:     (*Document).embeddingsPrompt,
}

// embeddingsPrompt lists independent inputs, or one chat.
func (d *Document) embeddingsPrompt() error {
	d.findTokenIDs()
	found := false
	for _, n := range [...]name{nameInput, nameInputs, nameTexts, nameText} {
		if v := d.top[n]; v != 0 {
			found = true
			if err := d.addItems(v, errInput); err != nil {
				return err
			}
		}
	}
	if m := d.top[nameMessages]; m != 0 {
		d.item = 0
		return d.addMessages(m, false, errMessages)
	}
	if !found && !d.TokenIDs {
		return errNoInput
	}
	return nil
}
