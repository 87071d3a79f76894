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

// ErrHistory is in a State while history could not be read.
var ErrHistory = errors.New("what it has published could not be read")

// ErrNoise is in a State when a publisher was left because of what it sent: too
// many messages that are no batches.
var ErrNoise = errors.New("too many of its messages are no batches of events")

// history asks for what was published after the position, or for all of it, and
// applies what comes. It is false when it may have missed some, and pauses then
// before it asks again. The live stream waits meanwhile.
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

// probe asks whether there is more than came live. It gives way to whatever
// comes live, and to those who need history more; then it says nothing.
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

// settle draws the conclusions from a replay.
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
		sub.position.stale, sub.position.complete, sub.incomplete = true, false, true
	}
	if alive.Err() != nil {
		return false // it was cut short from here
	}
	sub.historyFailures++
	sub.noHistoryBefore = now.Add(backoff.Jitter(backoff.Pause(sub.historyFailures, historyPauseFirst, historyPauseLongest), sub.subscriber.options.Random()))
	sub.update(func(s *State) { s.Failure = ErrHistory })
	return false
}

// replay is one reading of a history.
type replay struct {
	sub         *subscription
	attempts    int         // that may bring nothing new, in a row
	yieldTo     func() bool // something else is to be done, unless a batch came; nil: nothing ever is
	fresh       bool        // it is to be applied to an empty state, and nothing came yet
	received    bool        // a batch came
	receivedNow bool        // a batch came in this attempt
	held        []message
	bytes       int
}

// answer is how an attempt went on.
type outcome uint8

const (
	more   outcome = iota // what is held is to be applied before more is read
	ended                 // it came to its end
	silent                // nothing comes any more: its end may be lost, or more
	broken                // it broke, or a batch was missing
)

// run attempts until all has come, or nothing new comes any more.
//
// An end counts where nothing came before it: the batches right before the mark
// may have been dropped. So does a silence, when several began at the same
// batch: the start of a reply is not dropped.
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

// wanted is the number of the next batch that is to be read.
func (r *replay) wanted() uint64 {
	switch n := len(r.held); {
	case r.fresh:
		return 0
	case n > 0:
		return r.held[n-1].seq + 1
	}
	return r.sub.position.wanted()
}

// attempt asks once, over a connection of its own: there is no other way to
// take a question back, and libzmq drops nothing at its start.
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

// collect reads as fast as it can, and applies nothing before all that may be
// held is there: the publisher drops what is read too slowly.
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

// receive waits for a message until the silence has lasted too long.
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

// take holds a batch. It is false when others are missing before it.
func (r *replay) hold(m message) bool {
	r.startFresh()
	leads := !r.receivedNow
	r.receivedNow = true
	want := r.wanted()
	switch {
	case m.seq < want:
		return true // we have it
	case m.seq == want:
	case !leads:
		return false // dropped on the way: it is asked for again
	case want > 0 || !isFirst(m.seq, true):
		r.historyStartsLate()
	}
	r.received = true
	r.sub.setKnowledge(Unknown) // it is what was missing
	r.held = append(r.held, message{m.seq, bytes.Clone(m.payload)})
	r.bytes += len(m.payload)
	return true
}

// open makes room for all of a history, once there is one. What follows is
// complete unless it turns out to start late.
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

// gone notes that what is wanted is not kept any more.
func (r *replay) historyStartsLate() {
	sub := r.sub
	if sub.position.started {
		sub.update(func(s *State) { s.Losses++ })
		sub.discard()
	}
	sub.position.complete = false
}

// apply applies what is held.
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
