// SPDX-License-Identifier: Apache-2.0

package janitor

import (
	"io"
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/bauxite/caddy-kvaware/internal/answer"
)

// responseWriter passes the engine's answer on to the client. When the header is
// committed it decides whether the answer must be restored or observed. If not,
// every byte passes unchanged.
type responseWriter struct {
	*caddyhttp.ResponseWriterWrapper
	r         *http.Request
	x         *Exchange
	client    *clientWriter
	committed bool
	answer    io.WriteCloser // restores and observes; nil: bytes pass unchanged
	unpack    *unpacker      // decompresses the answer before that; nil: not compressed
	stream    *answer.Stream // answer, if it is a stream of events
	counted   int64          // the bytes counted for its buffers
}

func newResponseWriter(w http.ResponseWriter, r *http.Request, x *Exchange) *responseWriter {
	client := &clientWriter{ResponseWriterWrapper: &caddyhttp.ResponseWriterWrapper{ResponseWriter: w}, r: r}
	return &responseWriter{ResponseWriterWrapper: &caddyhttp.ResponseWriterWrapper{ResponseWriter: client}, r: r, x: x, client: client}
}

// WriteHeader implements http.ResponseWriter.
func (w *responseWriter) WriteHeader(status int) {
	informational := status >= 100 && status < 200 && status != http.StatusSwitchingProtocols
	if !w.committed && !informational {
		w.committed = true
		if status == statusClientLeft && w.client.left() {
			w.client.noted = true // the proxy's note for the log: no answer
		} else {
			w.x.begin(status, w.Header())
			w.chooseReader(status)
		}
	}
	w.ResponseWriter.WriteHeader(status)
}

// chooseReader decides how the body is passed on.
func (w *responseWriter) chooseReader(status int) {
	h := w.Header()
	if !w.needsReading() || w.r.Method == http.MethodHead || !hasReadableBody(status) {
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
	if c.open != nil || w.x.restores() || w.x.dropUsage {
		dropLengths(h)
	}
}

// needsReading reports whether the answer must be restored or observed.
func (w *responseWriter) needsReading() bool {
	return w.x.restores() || w.x.dropUsage || w.x.observer != nil
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
	return http.NewResponseController(w.ResponseWriter).Flush()
}

// finish passes on the bytes that are still held back when the answer ends. It
// reports false if a compressed answer was incomplete, which the client could not
// notice.
func (w *responseWriter) finish() bool {
	whole := w.unpack == nil || w.unpack.finish() == nil
	if w.answer != nil {
		_ = w.answer.Close() // the client may be gone: nothing else to do
	}
	return whole
}

// close frees the buffers of the answer, however the request ended.
func (w *responseWriter) close() {
	if w.unpack != nil {
		w.unpack.stop()
	}
	if w.answer != nil {
		_ = w.answer.Close()
	}
}

// writerFunc is a Write method.
type writerFunc func(p []byte) (int, error)

// Write implements io.Writer.
func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// observerRelay passes the events of an answer on to the exchange's observer.
type observerRelay struct{ x *Exchange }

// FirstToken implements answer.Observer.
func (w observerRelay) FirstToken() {
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
