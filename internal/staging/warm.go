// SPDX-License-Identifier: Apache-2.0

package staging

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bauxite/caddy-kvaware/internal/prompt"
	"github.com/bauxite/caddy-kvaware/internal/tokenize"
)

const (
	// maxWarming is how many requests of one token may be under way or waiting
	// for their time: the scrubbed bodies they need are kept meanwhile.
	maxWarming = 256
	// warmFor is how long an engine may take for one, and warmRest for how long
	// it is left alone after it has failed.
	warmFor  = 30 * time.Second
	warmRest = 30 * time.Second
	// lastWarm is the latest that one is sent after the answer before.
	lastWarm = 30 * time.Second
	// maxWarmAnswer is how much of an answer is read, in bytes, so that the
	// connection can be used again.
	maxWarmAnswer = 64 << 10
)

// warmResult is what became of a warm-up.
type warmResult uint8

const (
	warmed        warmResult = iota // the engine has answered
	warmFailed                      // it has not, or refused
	warmLimited                     // too many, one is under way there, or it has failed lately
	warmNeedless                    // its blocks are predicted to be on the GPU still
	warmOvertaken                   // the next turn came first
	numWarmResults
)

var warmResultNames = [numWarmResults]string{"completed", "failed", "limited", "needless", "overtaken"}

// warmer sends engines requests for one token with the prompt of a
// conversation whose next turn is expected: to answer them they bring its
// blocks to the GPU.
type warmer struct {
	transport *http.Transport
	now       func() time.Time
	ctx       context.Context
	stop      context.CancelFunc
	running   sync.WaitGroup
	counts    [numWarmResults]atomic.Uint64

	mu     sync.Mutex
	closed bool
	count  int
	busy   map[string]bool      // upstreams with one under way
	rest   map[string]time.Time // until when one is left alone
}

func newWarmer(now func() time.Time) *warmer {
	w := &warmer{transport: tokenize.NewTransport(), now: now, busy: make(map[string]bool), rest: make(map[string]time.Time)}
	w.ctx, w.stop = context.WithCancel(context.Background())
	return w
}

// later sends a warm-up for a turn after a while, if it has not come by then
// and needed says so. It releases what was kept of the request.
func (w *warmer) later(t *turn, after time.Duration, needed func() bool, kept Retained) {
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
		w.counts[w.await(t, min(after, lastWarm), needed, kept)].Add(1)
		w.mu.Lock()
		w.count--
		w.mu.Unlock()
	})
}

func (w *warmer) await(t *turn, after time.Duration, needed func() bool, kept Retained) warmResult {
	timer := time.NewTimer(after)
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
	case !w.begin(t.address):
		return warmLimited
	}
	err := w.send(t.ctx, t.address, kept)
	overtaken := err != nil && t.ctx.Err() != nil
	w.end(t.address, err != nil && !overtaken)
	switch {
	case overtaken:
		return warmOvertaken
	case err != nil:
		return warmFailed
	}
	return warmed
}

// begin reports whether an upstream may be sent one now; end has to follow.
func (w *warmer) begin(address string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.busy[address] || w.now().Before(w.rest[address]) {
		return false
	}
	delete(w.rest, address)
	w.busy[address] = true
	return true
}

func (w *warmer) end(address string, failed bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.busy, address)
	if failed && len(w.rest) < maxTurns {
		w.rest[address] = w.now().Add(warmRest)
	}
}

var errWarm = errors.New("the engine did not take the request")

// send sends one, and cuts it off when the next turn comes: the engine has
// then better to do.
func (w *warmer) send(ctx context.Context, address string, kept Retained) error {
	raw, err := warmBody(kept.API(), kept.Body(), kept.Salt())
	if err != nil {
		return err
	}
	body := &wipedBody{data: raw}
	defer body.wipe()
	ctx, cancel := context.WithTimeout(ctx, warmFor)
	defer cancel()
	defer context.AfterFunc(w.ctx, cancel)()
	r := &http.Request{
		Method:        http.MethodPost,
		URL:           &url.URL{Scheme: "http", Host: address, Path: warmPaths[kept.API()]},
		Host:          address,
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

// wipedBody is a request's body that is wiped when the request is over: net/http
// may go on reading it after the answer is there.
type wipedBody struct {
	mu   sync.Mutex
	data []byte // nil: wiped
	at   int
}

// Read reads on, and fails once the body is wiped.
func (b *wipedBody) Read(p []byte) (n int, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.data == nil:
		return 0, io.ErrClosedPipe
	case b.at == len(b.data):
		return 0, io.EOF
	}
	n = copy(p, b.data[b.at:])
	b.at += n
	return n, nil
}

// Close does nothing: the end of the request wipes the body.
func (b *wipedBody) Close() error { return nil }

func (b *wipedBody) wipe() {
	b.mu.Lock()
	defer b.mu.Unlock()
	clear(b.data)
	b.data = nil
}

// warmPaths are where engines take prompts.
var warmPaths = map[prompt.API]string{
	prompt.Chat:        "/v1/chat/completions",
	prompt.Completions: "/v1/completions",
	prompt.Responses:   "/v1/responses",
	prompt.Messages:    "/v1/messages",
}

// howAnswered are the members that say how to answer and how much, and have no
// say in the prompt.
var howAnswered = [...]string{
	"stream", "stream_options", "n", "best_of", "min_tokens", "max_tokens", "max_completion_tokens", "max_output_tokens",
	"logprobs", "top_logprobs", "prompt_logprobs", "echo", "response_format", "background", "store", "cache_salt",
}

// warmBody makes the request for one token of the one that was sent.
func warmBody(api prompt.API, body []byte, salt string) ([]byte, error) {
	var members map[string]json.RawMessage
	defer func() {
		for _, copied := range members {
			clear(copied)
		}
	}()
	if warmPaths[api] == "" || json.Unmarshal(body, &members) != nil || members == nil {
		return nil, errWarm
	}
	for _, name := range howAnswered {
		clear(members[name])
		delete(members, name)
	}
	if salt != "" {
		quoted, err := json.Marshal(salt)
		if err != nil {
			return nil, errWarm
		}
		members["cache_salt"] = quoted
	}
	if api == prompt.Responses {
		members["max_output_tokens"], members["store"] = json.RawMessage("1"), json.RawMessage("false")
	} else {
		members["max_tokens"] = json.RawMessage("1")
	}
	return json.Marshal(members)
}

// close ends what is under way and waits for it.
func (w *warmer) close() {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	w.stop()
	w.running.Wait()
	w.transport.CloseIdleConnections()
}
