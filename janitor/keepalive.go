// SPDX-License-Identifier: Apache-2.0

package janitor

import (
	"maps"
	"net/http"
	"time"

	"github.com/bauxite/caddy-kvaware/internal/answer"
)

// keepAliveComment is a comment of a stream of events, which clients ignore (HTML
// standard, section 9.2.6).
const keepAliveComment = ": keepalive\n\n"

// keepAlive sends comments to a client that waits for the first token of a stream.
// The first one sends the client a header of status 200, but does not begin the
// answer: further attempts stay possible.
//
// The timer has a goroutine of its own, so the writer's mu guards all but header.
type keepAlive struct {
	every time.Duration
	timer *time.Timer
	begun bool // a comment has sent the header
	over  bool // no more comments

	// header stands for the answer's header in the handlers behind the janitor.
	// The server's own belongs to the timer until the answer begins; then header
	// is nil, unless a comment came first.
	header http.Header
}

// KeepAlive sends the client a comment whenever it has waited so long for the
// first token of the stream that it asked for, so that no proxy in between takes
// the connection for dead. It goes on over all attempts. It does nothing for
// requests that ask for no stream of events, and when it was called before.
//
// The first comment commits the client to status 200 and a stream. Headers that an
// answer brings later are lost, and a failure becomes an error event, behind which
// the connection is aborted. [Observer.Header] still says when the answer begins.
func (x *Exchange) KeepAlive(every time.Duration) {
	if x.ended || x.writer == nil || !x.stream || !x.bodyRead || !answer.HasEnd(x.api) {
		return
	}
	x.writer.startKeepAlive(every)
}

// waited is called at the first token of the answer. mu of the writer is held.
func (x *Exchange) waited() {
	if x.writer != nil {
		x.writer.keep.stop()
	}
}

func (w *responseWriter) startKeepAlive(every time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.keep != nil || w.committed || w.closed {
		return
	}
	k := &keepAlive{every: every, header: w.ResponseWriter.Header().Clone()}
	if k.header == nil {
		k.header = make(http.Header)
	}
	w.keep = k
	k.timer = time.AfterFunc(every, w.comment)
}

// stop ends the comments. mu of the writer is held, so none is being written.
func (k *keepAlive) stop() {
	if k != nil && !k.over {
		k.over = true
		k.timer.Stop()
	}
}

// comment sends the client one comment. The timer calls it.
func (w *responseWriter) comment() {
	w.mu.Lock()
	defer w.mu.Unlock()
	k := w.keep
	if k.over || w.client.left() {
		return
	}
	k.timer.Reset(k.every)
	if w.stream != nil && w.stream.WithinEvent() {
		return
	}
	if !w.committed && !k.begun {
		k.begun = true
		h := w.ResponseWriter.Header()
		h.Set("Content-Type", "text/event-stream")
		h.Set("Cache-Control", "no-cache")
		w.ResponseWriter.WriteHeader(http.StatusOK)
	}
	if _, err := w.client.Write([]byte(keepAliveComment)); err != nil {
		k.stop()
		return
	}
	_ = w.flush() // a client that has gone shows at the next write
}

// sendHeader sends the client the answer's header, unless a comment has sent one:
// then a stream goes on behind the comments, and any other answer is a failure.
// mu is held.
func (w *responseWriter) sendHeader(status int) {
	k := w.keep
	if k == nil {
		w.ResponseWriter.WriteHeader(status)
		return
	}
	streams := w.hasEnd && w.stream != nil
	if !streams {
		k.stop()
	}
	if k.begun {
		if !streams && !w.client.noted && w.late == nil {
			w.gatherFailure(status)
		}
		return
	}
	if k.header != nil {
		h := w.ResponseWriter.Header()
		clear(h)
		maps.Copy(h, k.header)
		k.header = nil
	}
	w.ResponseWriter.WriteHeader(status)
}
