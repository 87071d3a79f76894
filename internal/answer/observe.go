// SPDX-License-Identifier: Apache-2.0

package answer

// Observer is told about an answer as it is read from the engine, before
// anything is restored or written on. Its methods are called on the writing
// goroutine and must not block. None of them ever sees text.
type Observer interface {
	// FirstToken is called once, when a stream brought its first piece of
	// content, reasoning or a tool call. Role and progress events are none. An
	// answer that is not streamed has no such moment.
	FirstToken()

	// Usage is called at most once, with all that the answer reported, when it
	// has ended or is closed.
	Usage(Usage)

	// Finish is called at most once and after Usage, when the engine said that
	// the answer is complete, not when it broke off. toolCalls tells that the
	// answer asks the client to run tools: another turn will follow soon.
	Finish(toolCalls bool)
}

// tally gathers what an observer is told.
type tally struct {
	observer  Observer
	counts    counts
	token     bool // the first token was seen
	finished  bool // the engine gave a reason for an end
	toolCalls bool
	reported  bool

	// Choices below 64 that were seen and that have ended: a stream of several
	// is complete when all have.
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

// finish notes the reason an engine gave: OpenAI's finish_reason, Anthropic's
// stop_reason.
func (t *tally) finish(reason []byte) {
	t.finished = true
	switch string(reason) {
	case "tool_calls", "function_call", "tool_use":
		t.toolCalls = true
	}
}

// choice notes that a choice was seen, and its end when there is a reason.
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

// report tells the observer the sum, once.
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
