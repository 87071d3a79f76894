// SPDX-License-Identifier: Apache-2.0

package prompt

// rerankDialect is Jina's and Cohere's rerank API, as engines take it.
var rerankDialect = Dialect{
	Name:     "rerank",
	Suffixes: []string{"/rerank"},
	list:     (*Document).comparedTexts,
}

// scoreDialect is vLLM's score API.
var scoreDialect = Dialect{
	Name:     "score",
	Suffixes: []string{"/score"},
	list:     (*Document).comparedTexts,
}

// comparedTexts lists texts that are compared with each other. Each is an item
// of its own, or the score of one document would depend on its neighbours.
func (d *Document) comparedTexts() error {
	d.findTokenIDs()
	for _, n := range [...]name{
		nameQuery, nameQueries, nameText1, nameData1, nameDocuments, nameTexts, nameItems,
		nameText2, nameData2, nameInput,
	} {
		if v := d.top[n]; v != 0 && d.tape.nodes[v].kind != kindNull {
			if err := d.addItems(v, nil); err != nil {
				return err
			}
		}
	}
	return nil
}
