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
func (f *follower) history(alive context.Context, all bool) bool {
	if time.Now().Before(f.coolTill) {
		return false
	}
	r := replay{follower: f, fresh: all, attempts: replayAttempts}
	done := false
	select {
	case f.set.replays <- struct{}{}:
		done = r.run(alive)
		<-f.set.replays
	case <-alive.Done():
	}
	return f.settle(alive, &r, all, done)
}

// probe asks whether there is more than came live. It gives way to whatever
// comes live, and to those who need history more; then it says nothing.
func (f *follower) probe(alive context.Context, q *queue) {
	if time.Now().Before(f.coolTill) {
		return
	}
	select {
	case f.set.replays <- struct{}{}:
	default:
		return
	}
	r := replay{follower: f, attempts: 1, giveWay: q.pending}
	done := r.run(alive)
	<-f.set.replays
	if r.came {
		f.note(func(s *State) { s.Gaps++ })
	}
	if done || r.came {
		f.settle(alive, &r, false, done)
	}
}

// settle draws the conclusions from a replay.
func (f *follower) settle(alive context.Context, r *replay, all, done bool) bool {
	now := time.Now()
	f.position.settled = now
	if done {
		f.cold = 0
		f.position.stale = false
		f.note(func(s *State) { s.Replays++; s.Failure = nil })
		return true
	}
	if r.came || all && !r.fresh {
		f.position.stale, f.position.complete, f.behind = true, false, true
	}
	if alive.Err() != nil {
		return false // it was cut short from here
	}
	f.cold++
	f.coolTill = now.Add(backoff.Jitter(backoff.Pause(f.cold, coolFirst, coolMost), f.set.options.Random()))
	f.note(func(s *State) { s.Failure = ErrHistory })
	return false
}

// replay is one reading of a history.
type replay struct {
	follower *follower
	attempts int         // that may bring nothing new, in a row
	giveWay  func() bool // something else is to be done, unless a batch came; nil: nothing ever is
	fresh    bool        // it is to be applied to an empty state, and nothing came yet
	came     bool        // a batch came
	begun    bool        // a batch came in this attempt
	held     []message
	bytes    int
}

// answer is how an attempt went on.
type answer uint8

const (
	more   answer = iota // what is held is to be applied before more is read
	whole                // it came to its end
	silent               // nothing comes any more: its end may be lost, or more
	cut                  // it broke, or a batch was missing
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
		if got == whole && !news {
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
	return r.came && silences == r.attempts
}

// wanted is the number of the next batch that is to be read.
func (r *replay) wanted() uint64 {
	switch n := len(r.held); {
	case r.fresh:
		return 0
	case n > 0:
		return r.held[n-1].seq + 1
	}
	return r.follower.position.wanted()
}

// attempt asks once, over a connection of its own: there is no other way to
// take a question back, and libzmq drops nothing at its start.
func (r *replay) attempt(ctx context.Context) answer {
	f := r.follower
	conn, err := f.set.options.Dial(ctx, f.source.Replay, zmtp.DEALER)
	if err != nil {
		return cut
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	if conn.Send(request(r.wanted())...) != nil {
		return cut
	}
	r.begun = false
	for {
		got := r.collect(conn)
		r.apply(ctx)
		if ctx.Err() != nil {
			return cut
		}
		if got != more {
			return got
		}
	}
}

// collect reads as fast as it can, and applies nothing before all that may be
// held is there: the publisher drops what is read too slowly.
func (r *replay) collect(conn Conn) answer {
	var m zmtp.Message
	for len(r.held) < maxHistoryBatches && r.bytes < maxHistory {
		switch r.receive(conn, &m) {
		case nil:
		case zmtp.ErrDeadline:
			return silent
		default:
			return cut
		}
		got, ok := replayMessage(m.Parts)
		switch {
		case !ok:
			return cut
		case got.end():
			r.open()
			return whole
		case !r.take(got):
			return cut
		}
	}
	return more
}

// receive waits for a message until the silence has lasted too long.
func (r *replay) receive(conn Conn, m *zmtp.Message) error {
	until := time.Now().Add(replaySilence)
	if r.giveWay == nil {
		return conn.ReceiveUntil(m, until)
	}
	for {
		look := time.Now().Add(giveWayEvery)
		err := conn.ReceiveUntil(m, look)
		if err != zmtp.ErrDeadline || !look.Before(until) || !r.came && r.giveWay() {
			return err
		}
	}
}

// take holds a batch. It is false when others are missing before it.
func (r *replay) take(m message) bool {
	r.open()
	leads := !r.begun
	r.begun = true
	want := r.wanted()
	switch {
	case m.seq < want:
		return true // we have it
	case m.seq == want:
	case !leads:
		return false // dropped on the way: it is asked for again
	case want > 0 || !first(m.seq, true):
		r.gone()
	}
	r.came = true
	r.follower.know(Unknown) // it is what was missing
	r.held = append(r.held, message{m.seq, bytes.Clone(m.payload)})
	r.bytes += len(m.payload)
	return true
}

// open makes room for all of a history, once there is one. What follows is
// complete unless it turns out to start late.
func (r *replay) open() {
	if !r.fresh {
		return
	}
	r.fresh = false
	f := r.follower
	f.know(Unknown)
	f.sink.Clear()
	f.position.forget()
	f.position.complete = true
}

// gone notes that what is wanted is not kept any more.
func (r *replay) gone() {
	f := r.follower
	if f.position.have {
		f.note(func(s *State) { s.Losses++ })
		f.lost()
	}
	f.position.complete = false
}

// apply applies what is held.
func (r *replay) apply(ctx context.Context) {
	for i, m := range r.held {
		if ctx.Err() == nil {
			r.follower.apply(m, false)
			r.follower.rest(m)
		}
		r.held[i] = message{}
	}
	r.held, r.bytes = r.held[:0], 0
}
