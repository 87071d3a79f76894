// SPDX-License-Identifier: Apache-2.0

package kvevents

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bauxite/caddy-kvaware/internal/backoff"
	"github.com/bauxite/caddy-kvaware/internal/engine/zmtp"
)

// Why a session ends that could go on.
var (
	errUnseen     = errors.New("it is not followed any more")
	errSuperseded = errors.New("the publisher connected again")
)

// follower follows one publisher: over one connection after the other, each
// with a goroutine that reads it beside the one that does all else.
type follower struct {
	set      *Subscriber
	source   Publisher
	seen     atomic.Int64   // when it was last seen, in Unix nanoseconds; 0: dismissed
	accepted chan *accepted // holds a connection of a Listener, the newest

	mu    sync.Mutex // covers state for those who ask, which only run writes, and quit
	state State
	quit  context.CancelFunc // ends ctx

	// Of the goroutine alone.
	ctx       context.Context // over with the set, or when it is dismissed
	sink      Sink
	known     Knowledge
	position  position
	failures  int       // to get a connection that lasts, in a row
	cold      int       // times in a row that history could not be read
	coolTill  time.Time // when it may be asked for again
	restarted time.Time // when the last restart showed in the live stream
	behind    bool      // it is to be read from its start, and could not be
	spare     []message
	share     account
	modest    account
	worked    time.Duration // since the last rest
}

func newFollower(s *Subscriber, source Publisher) *follower {
	return &follower{
		set: s, source: source, accepted: make(chan *accepted, 1), state: State{Publisher: source},
		share: account{part: sharePart, burst: shareBurst}, modest: account{part: modestPart, burst: modestBurst},
	}
}

// run follows the publisher until it is not seen any more or the set is closed.
func (f *follower) run() {
	for {
		f.awake()
		f.sink = f.set.options.Open(f.source)
		for f.ctx.Err() == nil && !f.unseen() {
			f.connection()
		}
		if f.set.options.Closed != nil {
			f.set.options.Closed(f.source, f.sink)
		}
		if f.set.leave(f) {
			f.drop()
			f.dismiss()
			return
		}
	}
}

// awake gives the follower a context for the time that it is seen.
func (f *follower) awake() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.quit != nil {
		f.quit()
	}
	f.ctx, f.quit = context.WithCancel(f.set.ctx)
}

// dismiss ends what the follower is at. It is not seen any more, until it is
// again.
func (f *follower) dismiss() {
	f.seen.Store(0)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.quit != nil {
		f.quit()
	}
}

// accept hands the follower a connection to go on with, instead of the one it
// has and of one it has not begun with.
func (f *follower) accept(a *accepted) {
	for {
		select {
		case f.accepted <- a:
			return
		default:
			f.drop()
		}
	}
}

// drop closes a connection that nobody will use.
func (f *follower) drop() {
	select {
	case a := <-f.accepted:
		_ = a.conn.Close()
	default:
	}
}

func (f *follower) sinceSeen() time.Duration { return time.Since(time.Unix(0, f.seen.Load())) }

func (f *follower) unseen() bool { return f.sinceSeen() > idleAfter }

// note changes what others can ask for.
func (f *follower) note(change func(s *State)) {
	f.mu.Lock()
	change(&f.state)
	f.mu.Unlock()
}

func (f *follower) snapshot() State {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.state
}

// know tells the sink, and others who ask, what is known now.
func (f *follower) know(k Knowledge) {
	if k == f.known {
		return
	}
	f.known = k
	f.sink.SetKnowledge(k)
	f.note(func(s *State) { s.Knowledge = k })
}

// lost drops what was known, since it may not be so any more.
func (f *follower) lost() {
	f.sink.Clear()
	f.position.complete, f.position.stale = false, false
}

// connection gets a connection and follows the stream on it until that ends,
// or pauses when there is none.
func (f *follower) connection() {
	a, err := f.connect()
	if err == nil {
		began := time.Now()
		f.note(func(s *State) { s.Connected, s.Failure = true, nil; s.Restarts++ })
		err = f.session(a)
		f.know(Unknown)
		if time.Since(began) >= lasting {
			f.failures, f.cold, f.coolTill = 0, 0, time.Time{}
		}
	}
	if f.ctx.Err() != nil {
		err = nil // it was us
	}
	f.note(func(s *State) { s.Connected, s.Failure = false, err })
	f.failures++
	// Also before a connection that a publisher opened: one that opens many
	// must not have history read for each.
	f.pause(backoff.Jitter(backoff.Pause(f.failures, reconnectFirst, reconnectMost), f.set.options.Random()))
}

// connect dials the publisher, or waits for it to connect.
func (f *follower) connect() (*accepted, error) {
	ctx := f.ctx
	if f.source.Events != "" {
		conn, err := f.set.options.Dial(ctx, f.source.Events, zmtp.SUB)
		if err != nil {
			return nil, err
		}
		if err := conn.Subscribe(nil); err != nil {
			_ = conn.Close()
			return nil, err
		}
		return &accepted{conn: conn}, nil
	}
	timer := time.NewTimer(idleAfter - f.sinceSeen() + 1)
	defer timer.Stop()
	select {
	case a := <-f.accepted:
		return a, nil
	case <-timer.C:
		return nil, errUnseen
	case <-ctx.Done():
		return nil, zmtp.ErrClosed
	}
}

func (f *follower) pause(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-f.ctx.Done():
	}
}

// session follows the stream on one connection until that ends.
func (f *follower) session(a *accepted) error {
	// alive ends with the connection: what is asked beside it is of no use then.
	alive, dead := context.WithCancel(f.ctx)
	defer dead()
	q := newQueue(&f.set.held)
	if a.first != nil {
		q.offer(a.first)
	}
	stop := context.AfterFunc(f.ctx, func() { _ = a.conn.Close() })
	defer stop()
	pumped := make(chan struct{})
	f.set.running.Go(func() {
		defer close(pumped)
		q.pump(a.conn)
		dead()
	})
	defer func() {
		q.stop()
		_ = a.conn.Close()
		<-pumped
	}()
	f.begin(alive)
	return f.listen(alive, q)
}

// begin forgets what an earlier connection told: the engine may have been
// restarted since. What it has published before can be asked for; without that,
// the stream tells from here on.
func (f *follower) begin(alive context.Context) {
	f.position = position{}
	f.behind = false
	f.sink.Clear()
	f.rebuild(alive)
	f.know(f.position.knowledge())
}

// rebuild reads history from its start. Until the first of it comes, what is
// known stays.
func (f *follower) rebuild(alive context.Context) {
	if f.source.Replay == "" {
		return
	}
	f.behind = !f.history(alive, true)
}

// listen takes the stream in as it comes.
func (f *follower) listen(alive context.Context, q *queue) error {
	silence := silenceAtStart
	if f.source.Replay == "" {
		silence = silenceMost
	}
	random := f.set.options.Random
	quiet := time.Now().Add(backoff.Jitter(silence, random()))
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		timer.Reset(max(0, min(time.Until(quiet), idleAfter-f.sinceSeen()+1)))
		select {
		case <-f.ctx.Done():
			return zmtp.ErrClosed
		case a := <-f.accepted:
			// A publisher that connects again is the one that lives.
			select {
			case f.accepted <- a:
			default: // and again
				_ = a.conn.Close()
			}
			return errSuperseded
		case <-q.ready:
			if err := f.drain(alive, q); err != nil {
				return err
			}
			f.retry(alive)
			silence = silenceFirst
			quiet = time.Now().Add(backoff.Jitter(silence, random()))
		case <-timer.C:
			if f.unseen() {
				return errUnseen
			}
			if time.Now().Before(quiet) {
				continue
			}
			f.silent(alive, q)
			silence = backoff.Next(silence, silenceFirst, silenceMost)
			quiet = time.Now().Add(backoff.Jitter(silence, random()))
		}
	}
}

// drain takes in what waits. What comes meanwhile has to wait its turn, so that
// a flood does not keep the follower from all else.
func (f *follower) drain(alive context.Context, q *queue) error {
	batch, malformed, err := q.pop(f.spare)
	if malformed > 0 {
		f.note(func(s *State) { s.Malformed += malformed })
	}
	for i, m := range batch {
		if f.ctx.Err() != nil {
			return zmtp.ErrClosed
		}
		f.live(alive, m)
		q.done(m)
		batch[i] = message{}
		f.rest(m)
	}
	f.spare = nil
	if cap(batch) <= 64 {
		f.spare = batch[:0]
	}
	if len(batch) > 0 {
		signal(q.ready)
	}
	return err
}

// live takes in one batch of the live stream.
func (f *follower) live(alive context.Context, m message) {
	p := &f.position
	switch p.live(m.seq, time.Now()) {
	case duplicate:
		return
	case next:
	case start:
		if f.source.Replay != "" && !f.behind && m.seq != 0 {
			// History was empty, and something was published since.
			f.close(alive)
		}
	case gap:
		f.close(alive)
	case restart:
		f.restart(alive)
	}
	f.join(m)
	f.know(p.knowledge())
}

// restart begins with a new life of the publisher.
func (f *follower) restart(alive context.Context) {
	f.note(func(s *State) { s.Restarts++ })
	f.know(Unknown)
	f.sink.Clear()
	f.position.forget()
	now := time.Now()
	again := now.Sub(f.restarted) < restartGap
	f.restarted = now
	if !again {
		f.rebuild(alive)
	} else if f.source.Replay != "" {
		f.behind, f.coolTill = true, now.Add(coolFirst)
	}
}

// close asks for batches that are missing.
func (f *follower) close(alive context.Context) {
	f.note(func(s *State) { s.Gaps++ })
	f.know(Unknown)
	if f.source.Replay != "" && !f.history(alive, false) {
		f.behind = true
	}
}

// join takes in a live batch after history was looked at: it goes on where that
// ended, or there is a gap that cannot be closed.
func (f *follower) join(m message) {
	p := &f.position
	switch {
	case p.have && m.seq <= p.last:
		return
	case p.have && m.seq-p.last == 1:
	case !p.have:
		p.complete = first(m.seq, false)
	default:
		f.note(func(s *State) { s.Losses++ })
		f.lost()
	}
	f.apply(m, true)
}

// silent asks whether the last batches were lost.
func (f *follower) silent(alive context.Context, q *queue) {
	if f.source.Replay == "" || f.retry(alive) {
		return
	}
	f.probe(alive, q)
	f.know(f.position.knowledge())
}

// retry tries again to read the history that could not be read, when it is time
// to and anything is missing. It reports whether it did.
func (f *follower) retry(alive context.Context) bool {
	if !f.behind || f.position.complete || time.Now().Before(f.coolTill) {
		return false
	}
	f.rebuild(alive)
	f.know(f.position.knowledge())
	return true
}
