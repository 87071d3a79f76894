// SPDX-License-Identifier: Apache-2.0

package janitor

import (
	"io"
	"net/http"
	"sync"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/bauxite/caddy-kvaware/internal/answer"
)

// responseWriter passes the engine's answer on to the client. When the header is
// committed it decides whether the answer must be restored or observed. If not,
// every byte passes unchanged.
type responseWriter struct {
	*caddyhttp.ResponseWriterWrapper
	r      *http.Request
	x      *Exchange
	client *clientWriter
	keep   *keepAlive // nil: no comments are sent

	// mu keeps comments out of events. Only the timer of keep contends for it.
	mu        sync.Mutex
	committed bool           // the answer's final header has come
	answer    io.WriteCloser // restores and observes; nil: bytes pass unchanged
	unpack    *unpacker      // decompresses the answer before that; nil: not compressed
	stream    *answer.Stream // answer, if it is a stream of events
	hasEnd    bool           // stream has a last event by its API
	whole     bool           // which has come, and was passed on
	failed    bool           // it is an error of the engine
	late      *lateFailure   // answer, if it comes too late to be sent as it is
	closed    bool           // closeAnswer was called
	counted   int64          // the bytes counted for its buffers
}

func newResponseWriter(w http.ResponseWriter, r *http.Request, x *Exchange) *responseWriter {
	client := &clientWriter{ResponseWriterWrapper: &caddyhttp.ResponseWriterWrapper{ResponseWriter: w}, r: r}
	return &responseWriter{ResponseWriterWrapper: &caddyhttp.ResponseWriterWrapper{ResponseWriter: client}, r: r, x: x, client: client}
}

// Header implements http.ResponseWriter.
func (w *responseWriter) Header() http.Header {
	if w.keep != nil && w.keep.header != nil {
		return w.keep.header
	}
	return w.ResponseWriter.Header()
}

// WriteHeader implements http.ResponseWriter.
func (w *responseWriter) WriteHeader(status int) {
	if status >= 100 && status < 200 && status != http.StatusSwitchingProtocols {
		if w.keep == nil { // a comment may have sent the final header
			w.ResponseWriter.WriteHeader(status)
		}
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.committed {
		w.committed = true
		if status == statusClientLeft && w.client.left() {
			w.client.noted = true // the proxy's note for the log: no answer
		} else {
			w.x.begin(status, w.Header())
			w.chooseReader(status)
		}
	}
	w.sendHeader(status)
}

// chooseReader decides how the body is passed on.
func (w *responseWriter) chooseReader(status int) {
	h := w.Header()
	if w.r.Method == http.MethodHead || !hasReadableBody(status) {
		return
	}
	w.hasEnd = w.endExpected(status, h.Get("Content-Type"))
	if !w.hasEnd && !w.needsReading() {
		return
	}
	c, err := codingOf(h)
	if err != nil {
		return
	}
	reader := w.newAnswer(h.Get("Content-Type"))
	if reader == nil || c.open != nil && !w.x.tryGrow(c.memory) {
		return
	}
	w.answer = reader
	if c.open != nil {
		w.unpack = newUnpacker(c, reader)
		h.Del("Content-Encoding")
	}
	if c.open != nil || w.hasEnd || w.x.restores() || w.x.dropUsage {
		dropLengths(h)
	}
}

// needsReading reports whether the answer must be restored or observed.
func (w *responseWriter) needsReading() bool {
	return w.x.restores() || w.x.dropUsage || w.x.observer != nil
}

// endExpected reports whether the answer is a stream that its API ends with an
// event.
func (w *responseWriter) endExpected(status int, contentType string) bool {
	return w.x.bodyRead && status < 300 && answer.HasEnd(w.x.api) && answer.IsStream(contentType)
}

// newAnswer returns the reader for answers of a media type, nil if they pass
// unchanged. Without a media type it assumes JSON, whose reader passes other
// content unchanged.
func (w *responseWriter) newAnswer(contentType string) io.WriteCloser {
	var p answer.Placeholders
	if w.x.restores() {
		p = w.x.vault
	}
	if contentType == "" {
		contentType = "application/json"
	}
	reader, ok := answer.New(w.ResponseWriter, contentType, p, observerRelay{w.x})
	if !ok {
		return nil
	}
	if w.stream, ok = reader.(*answer.Stream); ok && w.x.dropUsage {
		w.stream.HideUsage()
	}
	if ok && w.hasEnd {
		w.stream.ExpectEnd()
	}
	return reader
}

// hasReadableBody reports whether an answer of this status has a whole body.
func hasReadableBody(status int) bool {
	switch status {
	case http.StatusSwitchingProtocols, http.StatusNoContent, http.StatusNotModified, http.StatusPartialContent:
		return false
	}
	return true
}

// dropLengths removes the headers that are true only for the engine's own bytes.
func dropLengths(h http.Header) {
	for _, name := range [...]string{
		"Content-Length", "Etag", "Content-Md5", "Digest", "Content-Digest", "Repr-Digest", "Accept-Ranges",
	} {
		h.Del(name)
	}
}

// Write implements http.ResponseWriter.
func (w *responseWriter) Write(p []byte) (int, error) {
	if !w.committed {
		w.WriteHeader(http.StatusOK)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.unpack != nil:
		defer w.countBuffers()
		return w.unpack.Write(p)
	case w.answer != nil:
		defer w.countBuffers()
		return w.answer.Write(p)
	}
	return w.ResponseWriter.Write(p)
}

// countBuffers counts the buffers of the answer once they are large.
func (w *responseWriter) countBuffers() {
	if w.stream == nil {
		return
	}
	n := int64(w.stream.MemorySize())
	if n <= footprintFloor {
		n = 0
	}
	if n != w.counted {
		w.x.forceGrow(n - w.counted)
		w.counted = n
	}
}

// ReadFrom implements io.ReaderFrom.
func (w *responseWriter) ReadFrom(r io.Reader) (int64, error) {
	if !w.committed {
		w.WriteHeader(http.StatusOK)
	}
	if w.answer == nil {
		return w.ResponseWriterWrapper.ReadFrom(r)
	}
	return io.Copy(writerFunc(w.Write), r)
}

// FlushError implements the flusher of http.ResponseController.
func (w *responseWriter) FlushError() error {
	if !w.committed {
		w.WriteHeader(http.StatusOK)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.flush()
}

// flush sends the client what was written. mu is held.
func (w *responseWriter) flush() error {
	return http.NewResponseController(w.ResponseWriter).Flush()
}

// writerFunc is a Write method.
type writerFunc func(p []byte) (int, error)

// Write implements io.Writer.
func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// observerRelay passes the events of an answer on to the exchange's observer.
type observerRelay struct{ x *Exchange }

// Response implements answer.Observer.
func (w observerRelay) Response(id string) {
	if w.x.observer != nil {
		w.x.observer.Response(id)
	}
}

// FirstToken implements answer.Observer.
func (w observerRelay) FirstToken() {
	w.x.waited()
	if w.x.observer != nil {
		w.x.observer.FirstToken()
	}
}

// Usage implements answer.Observer.
func (w observerRelay) Usage(u answer.Usage) {
	if w.x.observer != nil {
		w.x.observer.Usage(u)
	}
}

// Finish implements answer.Observer.
func (w observerRelay) Finish(toolCalls bool) {
	if w.x.observer != nil {
		w.x.observer.Finish(toolCalls)
	}
}

// Interface guards
var (
	_ http.ResponseWriter = (*responseWriter)(nil)
	_ io.ReaderFrom       = (*responseWriter)(nil)
	_ answer.Observer     = observerRelay{}
	_ answer.Placeholders = (*vault)(nil)
)
