// SPDX-License-Identifier: Apache-2.0

package enginesim

import (
	"net/http"
	"unicode/utf8"
)

// stream answers with server-sent events. As in vLLM, the header is sent at once,
// before the first token.
func (c *call) stream(x *exchange) {
	c.w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
	c.w.Header().Set("Cache-Control", "no-cache")
	s := c.answerWriter(http.StatusOK)
	s.flush()
	f := x.format()
	for _, t := range x.tasks {
		w := &taskWriter{call: c, task: t, format: f, sink: s}
		if w.run() != nil {
			panic(http.ErrAbortHandler)
		}
	}
	if tail := f.end(); tail != nil {
		s.record(tail)
	}
	s.close()
}

// taskWriter sends one prompt's answer as it is generated.
type taskWriter struct {
	call   *call
	task   *task
	format format
	sink   *answerWriter

	begun  bool
	part   int // index of the current part
	isOpen bool
	sent   int // bytes of its text
	tokens int // tokens of its text
	pieces int // pieces of text sent so far, of all parts
}

func (w *taskWriter) run() error {
	produced, done := 0, false
	for !done {
		var err error
		if produced, done, err = w.task.run.wait(w.call.r.Context(), produced); err != nil {
			return err
		}
		w.advance(produced, done)
		w.sink.flush()
	}
	return nil
}

// advance sends the text that is readable after so many tokens.
func (w *taskWriter) advance(produced int, done bool) {
	if !w.begun {
		w.begun = true
		w.emit(w.format.begin(w.task))
	}
	parts := w.task.out.parts
	for ; w.part < len(parts); w.part++ {
		p := &parts[w.part]
		if !w.isOpen {
			if !p.opened(produced) {
				break
			}
			w.isOpen = true
			w.emit(w.format.open(w.task, w.part))
		}
		complete := produced >= p.from+len(p.ends)
		if held := w.text(p, produced, complete, done); held || !complete && !done {
			break
		}
		w.emit(w.format.close(w.task, w.part))
		w.isOpen, w.sent, w.tokens = false, 0, 0
	}
	if done {
		w.emit(w.format.finish(w.task))
	}
}

// text sends pieces of the part's text. It reports whether it holds the last piece
// back, because that will carry the finish reason.
func (w *taskWriter) text(p *outPart, produced int, complete, done bool) (held bool) {
	readable := p.readable(produced)
	for w.sent < len(readable) {
		n, tokens := w.piece(p, readable, produced, complete || done)
		if n == 0 {
			return false
		}
		last := w.part == len(w.task.out.parts)-1 && (complete || done) && w.sent+n == len(readable)
		if last && !done && w.call.engine.cfg.FinishWithContent {
			return true
		}
		w.emit(w.format.delta(w.task, w.part, readable[w.sent:w.sent+n], last))
		w.sent += n
		w.tokens += tokens
		w.pieces++
	}
	return false
}

// piece returns the bytes and tokens of the next piece, 0 while it is incomplete;
// with flush it returns an incomplete piece.
func (w *taskWriter) piece(p *outPart, readable string, produced int, flush bool) (bytes, tokens int) {
	cfg := &w.call.engine.cfg
	if len(cfg.ChunkSizes) > 0 {
		return cut(readable[w.sent:], cfg.ChunkSizes[w.pieces%len(cfg.ChunkSizes)], flush), 0
	}
	ready := min(produced-p.from, len(p.ends)) - w.tokens
	tokens = cfg.StreamInterval
	if w.tokens == 0 {
		tokens = 1 // the first token never waits
	}
	if tokens > ready {
		if !flush {
			return 0, 0
		}
		tokens = ready
	}
	return int(p.ends[w.tokens+tokens-1]) - w.sent, tokens
}

// cut returns the length of the longest prefix of rest that has at most size
// bytes, or one character, and ends between characters. If rest is shorter it
// returns 0, or with flush the length of rest.
func cut(rest string, size int, flush bool) int {
	if size >= len(rest) {
		if size > len(rest) && !flush {
			return 0
		}
		return len(rest)
	}
	for size > 0 && !utf8.RuneStart(rest[size]) {
		size--
	}
	if size == 0 {
		_, size = utf8.DecodeRuneInString(rest)
	}
	return size
}

func (w *taskWriter) emit(record []byte) {
	if record != nil {
		w.sink.record(record)
	}
}
