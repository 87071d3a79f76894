// SPDX-License-Identifier: Apache-2.0

package answer

import (
	"io"
	"mime"
	"strings"
)

// New returns a reader for an answer of a media type: text/event-stream,
// application/json, any +json, or newline-delimited JSON. It returns false for
// all others, which pass as they are. Restoring changes the length, so the caller
// removes Content-Length and digests from the header.
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
