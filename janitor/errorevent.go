// SPDX-License-Identifier: Apache-2.0

package janitor

import (
	"bytes"
	"encoding/json"

	"github.com/bauxite/caddy-kvaware/internal/prompt"
)

// responsesError is the error event of the Responses API. Its reference has code
// and message beside the type; the API itself sends them in an object error, by
// which the SDKs recognize a failure.
type responsesError struct {
	Type     string  `json:"type"`
	Number   int     `json:"sequence_number"`
	Code     string  `json:"code"`
	Message  string  `json:"message"`
	Param    *string `json:"param"`
	Contents any     `json:"error"`
}

// event returns the refusal as an event of a stream that has begun, in the API's
// own form. number is the event's sequence_number in the Responses API.
func (f *refusal) event(api prompt.API, number int) []byte {
	name, contents := "", errorShapes[api.Dialect().Errors](f)
	switch api {
	case prompt.Responses:
		name = "error"
		contents = responsesError{Type: name, Number: number, Code: f.reason, Message: f.message, Contents: f.openAI().Error}
	case prompt.Messages:
		name = "error"
	}
	data, err := json.Marshal(contents)
	if err != nil {
		panic(err) // strings only: it cannot fail
	}
	return errorEvent(name, data)
}

// errorEvent frames the data of an event, which has no line feed. name may be
// empty.
func errorEvent(name string, data []byte) []byte {
	var b bytes.Buffer
	if name != "" {
		b.WriteString("event: " + name + "\n")
	}
	b.WriteString("data: ")
	b.Write(data)
	b.WriteString("\n\n")
	return b.Bytes()
}
