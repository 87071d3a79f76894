// SPDX-License-Identifier: Apache-2.0

package janitor

import (
	"io"
	"mime"
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/bauxite/caddy-kvaware/janitor/answer"
)

// responseWriter passes the engine's answer on to the client. When its header
// is committed it decides what the answer needs: restoring, watching, or
// nothing, in which case every byte passes as it is.
type responseWriter struct {
	*caddyhttp.ResponseWriterWrapper
	r         *http.Request
	x         *Exchange
	committed bool
	answer    io.WriteCloser // restores and watches; nil: bytes pass as they are
	unpack    *unpacker      // opens a compressed answer in front of it; nil: plain
}

func newResponseWriter(w http.ResponseWriter, r *http.Request, x *Exchange) *responseWriter {
	return &responseWriter{ResponseWriterWrapper: &caddyhttp.ResponseWriterWrapper{ResponseWriter: w}, r: r, x: x}
}

// WriteHeader implements http.ResponseWriter.
func (w *responseWriter) WriteHeader(status int) {
	informational := status >= 100 && status < 200 && status != http.StatusSwitchingProtocols
	if !w.committed && !informational {
		w.committed = true
		w.x.begin(status, w.Header())
		w.choose(status)
	}
	w.ResponseWriter.WriteHeader(status)
}

// choose decides how the body that follows is passed on.
func (w *responseWriter) choose(status int) {
	if !w.wanted() || w.r.Method == http.MethodHead || !hasReadableBody(status) {
		return
	}
	h := w.Header()
	media, _, err := mime.ParseMediaType(h.Get("Content-Type"))
	if err != nil && h.Get("Content-Type") != "" {
		return
	}
	stream := media == "text/event-stream"
	if !stream && media != "" && !isJSON(media) {
		return
	}
	c, err := codingOf(h)
	if err != nil {
		return
	}
	if c.open != nil {
		if !w.x.reserve(c.memory) {
			return
		}
		w.unpack = newUnpacker(c, writerFunc(func(p []byte) (int, error) { return w.answer.Write(p) }))
		h.Del("Content-Encoding")
		dropLengths(h)
	}
	if w.x.restores() || w.x.dropUsage {
		dropLengths(h)
	}
	w.answer = w.newAnswer(stream)
}

// wanted tells whether anybody has an interest in what the answer says.
func (w *responseWriter) wanted() bool {
	return w.x.restores() || w.x.dropUsage || w.x.observer != nil
}

func (w *responseWriter) newAnswer(stream bool) io.WriteCloser {
	var p answer.Placeholders
	if w.x.restores() {
		p = w.x.vault
	}
	out := w.ResponseWriter
	if !stream {
		return answer.NewBody(out, p, watcher{w.x})
	}
	s := answer.NewStream(out, p, watcher{w.x})
	if w.x.dropUsage {
		s.HideUsage()
	}
	return s
}

// hasReadableBody leaves out statuses without a body, and parts of one.
func hasReadableBody(status int) bool {
	switch status {
	case http.StatusSwitchingProtocols, http.StatusNoContent, http.StatusNotModified, http.StatusPartialContent:
		return false
	}
	return true
}

// isJSON tells media types that hold JSON, also one value after another.
func isJSON(media string) bool {
	switch media {
	case "application/json", "application/x-ndjson", "application/jsonl", "text/json":
		return true
	}
	return strings.HasSuffix(media, "+json")
}

// dropLengths takes away what is true only of the bytes the engine sent.
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
		return w.unpack.Write(p)
	case w.answer != nil:
		return w.answer.Write(p)
	}
	return w.ResponseWriter.Write(p)
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

// finish passes on what is still held back when the answer is complete. It
// reports false when a compressed answer was not: the client could not tell.
func (w *responseWriter) finish() bool {
	whole := w.unpack == nil || w.unpack.finish() == nil
	if w.answer != nil {
		_ = w.answer.Close() // the client is gone; there is nobody else to tell
	}
	return whole
}

// close makes the answer's buffers go, however the request ended.
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

// watcher hands what an answer says to the exchange's observer.
type watcher struct{ x *Exchange }

// FirstToken implements answer.Observer.
func (w watcher) FirstToken() {
	if w.x.observer != nil {
		w.x.observer.FirstToken()
	}
}

// Usage implements answer.Observer.
func (w watcher) Usage(u answer.Usage) {
	if w.x.observer != nil {
		w.x.observer.Usage(u)
	}
}

// Finish implements answer.Observer.
func (watcher) Finish(bool) {}

// Interface guards
var (
	_ http.ResponseWriter = (*responseWriter)(nil)
	_ io.ReaderFrom       = (*responseWriter)(nil)
	_ answer.Observer     = watcher{}
	_ answer.Placeholders = (*vault)(nil)
)
