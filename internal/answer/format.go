// SPDX-License-Identifier: Apache-2.0

package answer

import (
	"bytes"

	"github.com/bauxite/caddy-kvaware/internal/prompt"
)

// format describes the streamed answers of one family of APIs.
type format struct {
	apis    []prompt.API // the APIs that have it, to their prompt.Dialect
	matches func(*event) bool
	read    func(*event)
	example string // an event that matches, and no row above it
}

// formats has the rows in the order in which they are tried. An event is
// recognized by its shape and not by the request's path, so the last row takes
// every other event.
var formats = [...]format{
	{
		apis:    []prompt.API{prompt.Chat, prompt.Completions},
		matches: (*event).hasChoices,
		read:    (*event).readOpenAI,
		example: `{"object":"chat.completion.chunk","type":"chunk","choices":[]}`,
	},
	{
		apis:    []prompt.API{prompt.Responses},
		matches: (*event).isResponse,
		read:    (*event).readResponse,
		example: `{"type":"response.output_text.delta","delta":"x"}`,
	},
	{
		apis:    []prompt.API{prompt.Messages},
		matches: (*event).hasType,
		read:    (*event).readAnthropic,
		example: `{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"x"}}`,
	},
	{
		matches: func(*event) bool { return true },
		read:    (*event).readNative,
		example: `{"content":"x","stop":false}`,
	},
}

func (e *event) hasChoices() bool {
	_, ok := e.find("choices")
	return ok
}

func (e *event) isResponse() bool { return bytes.HasPrefix(e.kind(), []byte("response.")) }

func (e *event) hasType() bool { return len(e.kind()) > 0 }

// kind returns the event's type, nil when it has none.
func (e *event) kind() []byte {
	if !e.kindRead {
		e.kindText, e.kindRead = e.stringMember("type"), true
	}
	return e.kindText
}

// interpret reads the event by the first format that matches.
func (e *event) interpret() {
	for i := range formats {
		if f := &formats[i]; f.matches(e) {
			f.read(e)
			return
		}
	}
}
