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
	switch kind := mediaType(contentType); {
	case kind == eventStream:
		return NewStream(w, p, o), true
	case kind == "application/json", strings.HasSuffix(kind, "+json"),
		kind == "application/x-ndjson", kind == "application/jsonl":
		return NewBody(w, p, o), true
	}
	return nil, false
}

const eventStream = "text/event-stream"

// IsStream reports whether a Content-Type is that of a stream of events.
func IsStream(contentType string) bool { return mediaType(contentType) == eventStream }

// mediaType returns the type in lower case, without parameters.
func mediaType(contentType string) string {
	kind, _, err := mime.ParseMediaType(contentType)
	if err != nil { // broken parameters: the type itself may be fine
		kind, _, _ = strings.Cut(contentType, ";")
		kind = strings.ToLower(strings.TrimSpace(kind))
	}
	return kind
}
