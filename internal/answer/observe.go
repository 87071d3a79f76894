// SPDX-License-Identifier: Apache-2.0

package answer

import (
	"bytes"

	"github.com/bauxite/caddy-kvaware/internal/prompt"
)

// Observer learns about an answer as the engine sends it, before anything is
// restored or written. Its methods run on the writing goroutine and must not
// block. None of them ever gets text.
type Observer interface {
	// Response is called at most once, with the ID of the response object of the
	// Responses API, before the client can read it there. The engine may have
	// stored the response, so that later requests refer to it. The ID has up to
	// prompt.MaxResponseID bytes and comes from the engine: it must not be logged.
	Response(id string)

	// FirstToken is called once, at the first content, reasoning or tool call of
	// a stream. Role and progress events do not count. It is not called for an
	// answer that is not streamed.
	FirstToken()

	// Usage is called at most once, with everything that the answer reports, at
	// the end of the answer or at Close.
	Usage(Usage)

	// Finish is called at most once, after Usage, when the engine reports that
	// the answer is complete. toolCalls: the answer asks the client to run tools,
	// so another turn follows soon.
	Finish(toolCalls bool)
}

// tally collects the reports to an observer.
type tally struct {
	observer  Observer
	counts    counts
	token     bool // the first token has come
	finished  bool // the engine gave a reason for the end
	toolCalls bool
	reported  bool
	over      bool // the last event of the answer, or an error, has come
	failed    bool // an error has come that is not the request's fault
	number    int  // sequence_number of the next event, in the Responses API
	responded bool // Response was called

	// Bit sets of the choices below 64 that have begun and ended. A stream is
	// complete when all have ended.
	open, ended uint64
}

func (t *tally) firstToken() {
	if t.token {
		return
	}
	t.token = true
	if t.observer != nil {
		t.observer.FirstToken()
	}
}

// response takes the raw ID of the answer's response object. One with escapes,
// which no engine writes, is not taken.
func (t *tally) response(id []byte) {
	if t.responded || t.observer == nil || len(id) == 0 || len(id) > prompt.MaxResponseID || bytes.IndexByte(id, '\\') >= 0 {
		return
	}
	t.responded = true
	t.observer.Response(string(id))
}

// finish takes the engine's reason for an end: OpenAI's finish_reason or
// Anthropic's stop_reason.
func (t *tally) finish(reason []byte) {
	t.finished = true
	switch string(reason) {
	case "tool_calls", "function_call", "tool_use":
		t.toolCalls = true
	}
}

// choice takes a choice of an event. With a reason the choice ends.
func (t *tally) choice(index int32, reason []byte) {
	if index >= 0 && index < 64 {
		t.open |= 1 << index
		if len(reason) > 0 {
			t.ended |= 1 << index
		}
	}
	if len(reason) > 0 {
		t.finish(reason)
	}
}

// report calls Usage and Finish, once.
func (t *tally) report() {
	if t.reported {
		return
	}
	t.reported = true
	if t.observer == nil {
		return
	}
	if u, ok := t.counts.usage(); ok {
		t.observer.Usage(u)
	}
	if t.finished && t.open&^t.ended == 0 {
		t.observer.Finish(t.toolCalls)
	}
}
