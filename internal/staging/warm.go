// SPDX-License-Identifier: Apache-2.0

package staging

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bauxite/caddy-kvaware/internal/tokenize"
)

const (
	// maxWarming bounds the one-token requests that are under way or wait for their
	// time: each keeps a scrubbed body.
	maxWarming = 256
	// warmTimeout bounds the wait for an answer. warmPause is the time for which an
	// engine is left alone after a failure.
	warmTimeout = 30 * time.Second
	warmPause   = 30 * time.Second
	// maxWarmDelay is the longest time from an answer to the one-token request for its
	// next turn.
	maxWarmDelay = 30 * time.Second
	// maxWarmAnswer bounds the bytes of an answer that are read, so that the
	// connection can be used again.
	maxWarmAnswer = 64 << 10
)

// warmResult is the outcome of a one-token request.
type warmResult uint8

const (
	warmed        warmResult = iota // the engine has answered
	warmFailed                      // the engine refused it, or did not answer
	warmLimited                     // not sent: too many, one is under way there, or the last one failed
	warmNeedless                    // not sent: the blocks are predicted to be on the GPU still
	warmOvertaken                   // the next turn came first
	numWarmResults
)

var warmResultNames = [numWarmResults]string{"completed", "failed", "limited", "needless", "overtaken"}

// warmer sends engines one-token requests with the prompts of conversations whose
// next turn is expected. To answer one the engine brings the blocks to its GPU.
type warmer struct {
	transport transport
	now       func() time.Time
	ctx       context.Context
	stop      context.CancelFunc
	running   sync.WaitGroup
	counts    [numWarmResults]atomic.Uint64

	mu     sync.Mutex
	closed bool
	count  int                  // requests that are under way or wait
	busy   map[string]bool      // upstreams with one under way
	paused map[string]time.Time // upstreams that have failed: until when they are left alone
}

// transport is an http.Transport.
type transport interface {
	http.RoundTripper
	CloseIdleConnections()
}

func newWarmer(now func() time.Time) *warmer {
	w := &warmer{transport: tokenize.NewTransport(), now: now, busy: make(map[string]bool), paused: make(map[string]time.Time)}
	w.ctx, w.stop = context.WithCancel(context.Background())
	return w
}

// schedule sends a one-token request for a turn after a delay, if the turn has not
// come by then and needed returns true. It releases the retained request.
func (w *warmer) schedule(t *nextTurn, delay time.Duration, needed func() bool, kept Retained) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed || w.count >= maxWarming {
		w.counts[warmLimited].Add(1)
		kept.Release()
		return
	}
	w.count++
	w.running.Go(func() {
		defer kept.Release()
		w.counts[w.warm(t, min(delay, maxWarmDelay), needed, kept)].Add(1)
		w.mu.Lock()
		w.count--
		w.mu.Unlock()
	})
}

// warm waits and sends the request.
func (w *warmer) warm(t *nextTurn, delay time.Duration, needed func() bool, kept Retained) warmResult {
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-t.ctx.Done():
		return warmOvertaken
	case <-w.ctx.Done():
		return warmLimited
	}
	switch {
	case !needed():
		return warmNeedless
	case !w.reserve(t.upstream):
		return warmLimited
	}
	err := w.send(t.ctx, t.upstream, kept)
	overtaken := err != nil && t.ctx.Err() != nil
	w.free(t.upstream, err != nil && !overtaken)
	switch {
	case overtaken:
		return warmOvertaken
	case err != nil:
		return warmFailed
	}
	return warmed
}

// reserve reports whether an upstream may be sent a request now. If so, free must
// follow.
func (w *warmer) reserve(upstream string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.busy[upstream] || w.now().Before(w.paused[upstream]) {
		return false
	}
	delete(w.paused, upstream)
	w.busy[upstream] = true
	return true
}

func (w *warmer) free(upstream string, failed bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.busy, upstream)
	if failed && len(w.paused) < maxNextTurns {
		w.paused[upstream] = w.now().Add(warmPause)
	}
}

var errWarm = errors.New("the engine did not take the request")

// send sends a one-token request. It is cut off when the next turn comes, because the
// engine has to compute that turn then.
func (w *warmer) send(ctx context.Context, upstream string, kept Retained) error {
	raw, err := warmBody(kept.API(), kept.Body(), kept.Salt())
	if err != nil {
		return err
	}
	body := &wipedBody{data: raw}
	defer body.wipe()
	ctx, cancel := context.WithTimeout(ctx, warmTimeout)
	defer cancel()
	defer context.AfterFunc(w.ctx, cancel)()
	r := &http.Request{
		Method:        http.MethodPost,
		URL:           &url.URL{Scheme: "http", Host: upstream, Path: kept.API().Dialect().Path},
		Host:          upstream,
		Header:        http.Header{"Content-Type": {"application/json"}, "Accept": {"application/json"}, "User-Agent": {"caddy-kvaware"}},
		Body:          body,
		ContentLength: int64(len(raw)),
	}
	answer, err := w.transport.RoundTrip(r.WithContext(ctx))
	if err != nil {
		return errWarm
	}
	defer answer.Body.Close()
	if _, err := io.Copy(io.Discard, io.LimitReader(answer.Body, maxWarmAnswer)); err != nil || answer.StatusCode != http.StatusOK {
		return errWarm
	}
	return nil
}

// close ends all requests and waits for them.
func (w *warmer) close() {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	w.stop()
	w.running.Wait()
	w.transport.CloseIdleConnections()
}
