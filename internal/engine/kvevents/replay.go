// SPDX-License-Identifier: Apache-2.0

package kvevents

import (
	"bytes"
	"context"
	"errors"
	"time"

	"github.com/bauxite/caddy-kvaware/internal/backoff"
	"github.com/bauxite/caddy-kvaware/internal/engine/zmtp"
)

// ErrHistory is in a State while history cannot be read.
var ErrHistory = errors.New("the history of events could not be read")

// ErrNoise is in a State after a publisher sent too many messages that are no
// batches.
var ErrNoise = errors.New("too many of its messages are no batches of events")

// readHistory asks for the batches after the position, or for all, and applies
// them. It returns false when some may be missing; then history is not asked for
// again for a while. The live stream waits meanwhile.
func (sub *subscription) readHistory(alive context.Context, all bool) bool {
	if time.Now().Before(sub.noHistoryBefore) {
		return false
	}
	r := replay{sub: sub, fresh: all, attempts: replayAttempts}
	done := false
	select {
	case sub.subscriber.replays <- struct{}{}:
		done = r.run(alive)
		<-sub.subscriber.replays
	case <-alive.Done():
	}
	return sub.finishReplay(alive, &r, all, done)
}

// probe asks for batches that did not come live. It gives way to live batches and to
// other subscriptions' replays; then nothing is concluded.
func (sub *subscription) probe(alive context.Context, q *queue) {
	if time.Now().Before(sub.noHistoryBefore) {
		return
	}
	select {
	case sub.subscriber.replays <- struct{}{}:
	default:
		return
	}
	r := replay{sub: sub, attempts: 1, yieldTo: q.pending}
	done := r.run(alive)
	<-sub.subscriber.replays
	if r.received {
		sub.update(func(s *State) { s.Gaps++ })
	}
	if done || r.received {
		sub.finishReplay(alive, &r, false, done)
	}
}

// finishReplay updates the position after a replay, and reports whether it was
// whole.
func (sub *subscription) finishReplay(alive context.Context, r *replay, all, done bool) bool {
	now := time.Now()
	sub.position.replayedAt = now
	if done {
		sub.historyFailures = 0
		sub.position.stale = false
		sub.update(func(s *State) { s.Replays++; s.Failure = nil })
		return true
	}
	if r.received || all && !r.fresh {
		sub.position.stale, sub.position.complete, sub.historyMissing = true, false, true
	}
	if alive.Err() != nil {
		return false // we have ended it
	}
	sub.historyFailures++
	sub.noHistoryBefore = now.Add(backoff.Jitter(backoff.Pause(sub.historyFailures, historyPauseFirst, historyPauseLongest), sub.subscriber.options.Random()))
	sub.update(func(s *State) { s.Failure = ErrHistory })
	return false
}

// replay is one reading of a history, over several attempts.
type replay struct {
	sub         *subscription
	attempts    int         // limit of attempts in a row that bring nothing new
	yieldTo     func() bool // reports more urgent work: a replay without batches ends for it; nil: none
	fresh       bool        // applies to an empty state, and nothing came yet
	received    bool        // a batch came
	receivedNow bool        // a batch came in this attempt
	held        []message
	bytes       int
}

// outcome is the result of reading one part of an answer.
type outcome uint8

const (
	more   outcome = iota // apply the held batches, then read on
	ended                 // the end mark came
	silent                // nothing comes any more: the end mark, or more, may be lost
	broken                // the connection broke, or a batch was missing
)

// run makes attempts until all batches came, or no new ones come.
//
// An end mark counts in an answer without batches: others may have lost the batches
// right before the mark. Silence counts after several answers from the same batch
// on: libzmq does not drop the start of an answer.
func (r *replay) run(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, replayTime)
	defer cancel()
	vain, silences := 0, 0
	for vain < r.attempts && ctx.Err() == nil {
		was, had := r.wanted(), r.fresh
		got := r.attempt(ctx)
		news := r.wanted() != was
		if got == ended && !news {
			return true
		}
		if news || r.fresh != had {
			vain, silences = 0, 0
			continue
		}
		vain++
		if got == silent {
			silences++
		}
	}
	return r.received && silences == r.attempts
}

// wanted returns the number of the next batch to read.
func (r *replay) wanted() uint64 {
	switch n := len(r.held); {
	case r.fresh:
		return 0
	case n > 0:
		return r.held[n-1].seq + 1
	}
	return r.sub.position.wanted()
}

// attempt asks once, over a connection of its own: that is the only way to cancel
// a request, and libzmq drops nothing at the start of a connection.
func (r *replay) attempt(ctx context.Context) outcome {
	sub := r.sub
	conn, err := sub.subscriber.options.Dial(ctx, sub.publisher.Replay, zmtp.DEALER)
	if err != nil {
		return broken
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	if conn.Send(replayRequest(r.wanted())...) != nil {
		return broken
	}
	r.receivedNow = false
	for {
		got := r.collect(conn)
		r.apply(ctx)
		if ctx.Err() != nil {
			return broken
		}
		if got != more {
			return got
		}
	}
}

// collect reads up to the limits as fast as it can, and applies nothing meanwhile:
// the publisher drops messages that are read too slowly.
func (r *replay) collect(conn Conn) outcome {
	var m zmtp.Message
	for len(r.held) < maxHistoryBatches && r.bytes < maxHistory {
		switch r.receive(conn, &m) {
		case nil:
		case zmtp.ErrDeadline:
			return silent
		default:
			return broken
		}
		got, ok := replayMessage(m.Parts)
		switch {
		case !ok:
			return broken
		case got.end():
			r.startFresh()
			return ended
		case !r.hold(got):
			return broken
		}
	}
	return more
}

// receive waits for a message, for replaySilence at most.
func (r *replay) receive(conn Conn, m *zmtp.Message) error {
	until := time.Now().Add(replaySilence)
	if r.yieldTo == nil {
		return conn.ReceiveUntil(m, until)
	}
	for {
		look := time.Now().Add(yieldCheckInterval)
		err := conn.ReceiveUntil(m, look)
		if err != zmtp.ErrDeadline || !look.Before(until) || !r.received && r.yieldTo() {
			return err
		}
	}
}

// hold keeps a batch. It returns false when others are missing before it.
func (r *replay) hold(m message) bool {
	r.startFresh()
	leads := !r.receivedNow
	r.receivedNow = true
	want := r.wanted()
	switch {
	case m.seq < want:
		return true // it was read before
	case m.seq == want:
	case !leads:
		return false // dropped on the way: ask for it again
	case want > 0 || !isFirst(m.seq, true):
		r.historyStartsLate()
	}
	r.received = true
	r.sub.setKnowledge(Unknown) // the batch was missing
	r.held = append(r.held, message{m.seq, bytes.Clone(m.payload)})
	r.bytes += len(m.payload)
	return true
}

// startFresh empties the state at the first message of a whole history. The history
// is complete unless it turns out to start late.
func (r *replay) startFresh() {
	if !r.fresh {
		return
	}
	r.fresh = false
	sub := r.sub
	sub.setKnowledge(Unknown)
	sub.sink.Clear()
	sub.position.reset()
	sub.position.complete = true
}

// historyStartsLate notes that the publisher does not keep the wanted batch any more.
func (r *replay) historyStartsLate() {
	sub := r.sub
	if sub.position.started {
		sub.update(func(s *State) { s.Losses++ })
		sub.discard()
	}
	sub.position.complete = false
}

// apply applies the held batches.
func (r *replay) apply(ctx context.Context) {
	for i, m := range r.held {
		if ctx.Err() == nil {
			r.sub.apply(m, false)
			r.sub.throttle(m)
		}
		r.held[i] = message{}
	}
	r.held, r.bytes = r.held[:0], 0
}
