// SPDX-License-Identifier: Apache-2.0

package answer

import (
	"io"
	"mime"
	"strings"
)

// New returns what reads an answer of a media type, or false when it is one
// that passes as it is: text/event-stream, application/json, any +json, and
// newline-delimited JSON are read. With something to restore the answer gets
// another length: the caller takes Content-Length and digests out of its header.
func New(w io.Writer, contentType string, p Placeholders, o Observer) (io.WriteCloser, bool) {
	kind, _, err := mime.ParseMediaType(contentType)
	if err != nil { // broken parameters: the type itself may be fine
		kind, _, _ = strings.Cut(contentType, ";")
		kind = strings.ToLower(strings.TrimSpace(kind))
	}
	switch {
	case kind == "text/event-stream":
		return NewStream(w, p, o), true
	case kind == "application/json", strings.HasSuffix(kind, "+json"),
		kind == "application/x-ndjson", kind == "application/jsonl":
		return NewBody(w, p, o), true
	}
	return nil, false
}
