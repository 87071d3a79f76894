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

// Reasons to end a session that could go on.
var (
	errUnwanted   = errors.New("it is not followed any more")
	errSuperseded = errors.New("the publisher connected again")
)

// subscription follows one publisher over one connection after the other. One
// goroutine receives from the connection; another, run, does the rest.
type subscription struct {
	subscriber *Subscriber
	publisher  Publisher
	wantedAt   atomic.Int64  // when Follow last named it, in Unix nanoseconds; 0: unfollowed
	inbound    chan *inbound // holds the newest connection of a Listener

	mu     sync.Mutex         // guards state and cancel
	state  State              // only run writes it
	cancel context.CancelFunc // ends ctx

	// Only run uses the rest.
	ctx             context.Context // ends with the Subscriber, or by unfollow
	sink            Sink
	knowledge       Knowledge
	position        position
	failures        int       // to get a connection that lasts, in a row
	historyFailures int       // to read history, in a row
	noHistoryBefore time.Time // when history may be asked for again
	connectedBefore bool
	lastRestart     time.Time // when the live stream last showed a restart
	historyMissing  bool      // history must be read from its start, which has failed
	spare           []message
	share           budget
	modest          budget
	applyTime       time.Duration // spent since the last throttle
}

func newSubscription(s *Subscriber, publisher Publisher) *subscription {
	return &subscription{
		subscriber: s, publisher: publisher, inbound: make(chan *inbound, 1), state: State{Publisher: publisher},
		share: budget{divisor: shareDivisor, burst: shareBurst}, modest: budget{divisor: modestDivisor, burst: modestBurst},
	}
}

// run follows the publisher until it is unwanted or the Subscriber is closed.
func (sub *subscription) run() {
	for {
		sub.renewContext()
		sub.sink = sub.subscriber.options.Open(sub.publisher)
		for sub.ctx.Err() == nil && !sub.unwanted() {
			sub.connectOnce()
		}
		if sub.subscriber.options.Closed != nil {
			sub.subscriber.options.Closed(sub.publisher, sub.sink)
		}
		if sub.subscriber.remove(sub) {
			sub.dropInbound()
			sub.unfollow()
			return
		}
	}
}

// renewContext replaces a context that unfollow may have ended.
func (sub *subscription) renewContext() {
	sub.mu.Lock()
	defer sub.mu.Unlock()
	if sub.cancel != nil {
		sub.cancel()
	}
	sub.ctx, sub.cancel = context.WithCancel(sub.subscriber.ctx)
}

// unfollow ends the session. Follow may want the publisher again.
func (sub *subscription) unfollow() {
	sub.wantedAt.Store(0)
	sub.mu.Lock()
	defer sub.mu.Unlock()
	if sub.cancel != nil {
		sub.cancel()
	}
}

// takeOver replaces the connection, and any that waits to replace it.
func (sub *subscription) takeOver(a *inbound) {
	for {
		select {
		case sub.inbound <- a:
			return
		default:
			sub.dropInbound()
		}
	}
}

// dropInbound closes a connection that waits and will not be used.
func (sub *subscription) dropInbound() {
	select {
	case a := <-sub.inbound:
		_ = a.conn.Close()
	default:
	}
}

func (sub *subscription) sinceWanted() time.Duration {
	return time.Since(time.Unix(0, sub.wantedAt.Load()))
}

func (sub *subscription) unwanted() bool { return sub.sinceWanted() > idleAfter }

// update changes the state that others can read.
func (sub *subscription) update(change func(s *State)) {
	sub.mu.Lock()
	change(&sub.state)
	sub.mu.Unlock()
}

func (sub *subscription) snapshot() State {
	sub.mu.Lock()
	defer sub.mu.Unlock()
	return sub.state
}

// setKnowledge passes a change of knowledge to the sink and to the state.
func (sub *subscription) setKnowledge(k Knowledge) {
	if k == sub.knowledge {
		return
	}
	sub.knowledge = k
	sub.sink.SetKnowledge(k)
	sub.update(func(s *State) { s.Knowledge = k })
}

// discard drops the known blocks, since they may be gone.
func (sub *subscription) discard() {
	sub.sink.Clear()
	sub.position.complete, sub.position.stale = false, false
}

// connectOnce gets a connection, follows the stream on it until that ends, and
// pauses.
func (sub *subscription) connectOnce() {
	a, err := sub.connect()
	if err == nil {
		began := time.Now()
		sub.update(func(s *State) {
			s.Connected, s.Failure = true, nil
			if sub.connectedBefore {
				s.Restarts++
			}
		})
		sub.connectedBefore = true
		err = sub.session(a)
		sub.setKnowledge(Unknown)
		if time.Since(began) >= lastingConn {
			sub.failures, sub.historyFailures, sub.noHistoryBefore = 0, 0, time.Time{}
		}
	}
	if sub.ctx.Err() != nil {
		err = nil // we have ended it
	}
	sub.update(func(s *State) { s.Connected, s.Failure = false, err })
	sub.failures++
	// Connections that a publisher opens wait too: history is not read for each of
	// many.
	sub.pause(backoff.Jitter(backoff.Pause(sub.failures, reconnectFirst, reconnectLongest), sub.subscriber.options.Random()))
}

// connect dials the publisher, or waits for it to connect.
func (sub *subscription) connect() (*inbound, error) {
	ctx := sub.ctx
	if sub.publisher.Events != "" {
		conn, err := sub.subscriber.options.Dial(ctx, sub.publisher.Events, zmtp.SUB)
		if err != nil {
			return nil, err
		}
		if err := conn.Subscribe(nil); err != nil {
			_ = conn.Close()
			return nil, err
		}
		return &inbound{conn: conn}, nil
	}
	timer := time.NewTimer(idleAfter - sub.sinceWanted() + 1)
	defer timer.Stop()
	select {
	case a := <-sub.inbound:
		return a, nil
	case <-timer.C:
		return nil, errUnwanted
	case <-ctx.Done():
		return nil, zmtp.ErrClosed
	}
}

func (sub *subscription) pause(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-sub.ctx.Done():
	}
}

// session follows the stream on one connection until that ends.
func (sub *subscription) session(a *inbound) error {
	// alive ends with the connection, and with it a replay, which is useless then.
	alive, dead := context.WithCancel(sub.ctx)
	defer dead()
	q := newQueue(&sub.subscriber.queuedBytes)
	if a.first != nil {
		q.offer(a.first)
	}
	stop := context.AfterFunc(sub.ctx, func() { _ = a.conn.Close() })
	defer stop()
	pumped := make(chan struct{})
	sub.subscriber.running.Go(func() {
		defer close(pumped)
		q.pump(a.conn)
		dead()
	})
	defer func() {
		q.stop()
		_ = a.conn.Close()
		<-pumped
	}()
	sub.begin(alive)
	return sub.readLive(alive, q)
}

// begin drops the blocks of an earlier connection, since the engine may have been
// restarted, and reads history where it is kept.
func (sub *subscription) begin(alive context.Context) {
	sub.position = position{}
	sub.historyMissing = false
	sub.sink.Clear()
	sub.rebuild(alive)
	sub.setKnowledge(sub.position.knowledge())
}

// rebuild reads history from its start. The known blocks stay until its first
// batch comes.
func (sub *subscription) rebuild(alive context.Context) {
	if sub.publisher.Replay == "" {
		return
	}
	sub.historyMissing = !sub.readHistory(alive, true)
}

// readLive applies the live stream and asks for history after silence.
func (sub *subscription) readLive(alive context.Context, q *queue) error {
	silence := silenceAtStart
	if sub.publisher.Replay == "" {
		silence = silenceLongest
	}
	random := sub.subscriber.options.Random
	quiet := time.Now().Add(backoff.Jitter(silence, random()))
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		timer.Reset(max(0, min(time.Until(quiet), idleAfter-sub.sinceWanted()+1)))
		select {
		case <-sub.ctx.Done():
			return zmtp.ErrClosed
		case a := <-sub.inbound:
			// A publisher that connects again has most likely been restarted.
			select {
			case sub.inbound <- a:
			default: // it has connected once more
				_ = a.conn.Close()
			}
			return errSuperseded
		case <-q.ready:
			if err := sub.drain(alive, q); err != nil {
				return err
			}
			sub.retryHistory(alive)
			silence = silenceFirst
			quiet = time.Now().Add(backoff.Jitter(silence, random()))
		case <-timer.C:
			if sub.unwanted() {
				return errUnwanted
			}
			if time.Now().Before(quiet) {
				continue
			}
			sub.checkSilence(alive, q)
			silence = backoff.Next(silence, silenceFirst, silenceLongest)
			quiet = time.Now().Add(backoff.Jitter(silence, random()))
		}
	}
}

// drain applies the batches that wait now. Later ones wait for the next call, so
// that a flood does not keep readLive from all else.
func (sub *subscription) drain(alive context.Context, q *queue) error {
	batch, malformed, err := q.pop(sub.spare)
	if malformed > 0 {
		sub.update(func(s *State) { s.Malformed += malformed })
	}
	for i, m := range batch {
		if sub.ctx.Err() != nil {
			return zmtp.ErrClosed
		}
		sub.handleLive(alive, m)
		q.done(m)
		batch[i] = message{}
		sub.throttle(m)
	}
	sub.spare = nil
	if cap(batch) <= 64 {
		sub.spare = batch[:0]
	}
	if len(batch) > 0 {
		signal(q.ready)
	}
	return err
}

// handleLive handles one batch of the live stream.
func (sub *subscription) handleLive(alive context.Context, m message) {
	p := &sub.position
	switch p.classify(m.seq, time.Now()) {
	case duplicate:
		return
	case next:
	case start:
		if sub.publisher.Replay != "" && !sub.historyMissing && m.seq != 0 {
			// History was empty, so batches were published since.
			sub.fillGap(alive)
		}
	case gap:
		sub.fillGap(alive)
	case restart:
		sub.restart(alive)
	}
	sub.applyLive(m)
	sub.setKnowledge(p.knowledge())
}

// restart starts over after the publisher was restarted.
func (sub *subscription) restart(alive context.Context) {
	sub.update(func(s *State) { s.Restarts++ })
	sub.setKnowledge(Unknown)
	sub.sink.Clear()
	sub.position.reset()
	now := time.Now()
	again := now.Sub(sub.lastRestart) < restartGap
	sub.lastRestart = now
	if !again {
		sub.rebuild(alive)
	} else if sub.publisher.Replay != "" {
		sub.historyMissing, sub.noHistoryBefore = true, now.Add(historyPauseFirst)
	}
}

// fillGap asks for missing batches.
func (sub *subscription) fillGap(alive context.Context) {
	sub.update(func(s *State) { s.Gaps++ })
	sub.setKnowledge(Unknown)
	if sub.publisher.Replay != "" && !sub.readHistory(alive, false) {
		sub.historyMissing = true
	}
}

// applyLive applies a live batch. If it still does not continue the position, the
// gap cannot be closed.
func (sub *subscription) applyLive(m message) {
	p := &sub.position
	switch {
	case p.started && m.seq <= p.last:
		return
	case p.started && m.seq-p.last == 1:
	case !p.started:
		p.complete = isFirst(m.seq, false)
	default:
		sub.update(func(s *State) { s.Losses++ })
		sub.discard()
	}
	sub.apply(m, true)
}

// checkSilence asks whether the last batches were lost.
func (sub *subscription) checkSilence(alive context.Context, q *queue) {
	if sub.publisher.Replay == "" || sub.retryHistory(alive) {
		return
	}
	sub.probe(alive, q)
	sub.setKnowledge(sub.position.knowledge())
}

// retryHistory reads history again that could not be read, when it is due. It
// reports whether it did.
func (sub *subscription) retryHistory(alive context.Context) bool {
	if !sub.historyMissing || sub.position.complete || time.Now().Before(sub.noHistoryBefore) {
		return false
	}
	sub.rebuild(alive)
	sub.setKnowledge(sub.position.knowledge())
	return true
}
