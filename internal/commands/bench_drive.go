// SPDX-License-Identifier: Apache-2.0

package commands

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/bauxite/caddy-kvaware/internal/answer"
)

// maxBenchAnswer bounds one answer in bytes.
const maxBenchAnswer = 256 << 20

// Reasons for failed requests: fixed texts, because they are counted and printed.
var (
	errUnreachable = errors.New("the endpoint cannot be reached, or broke the connection")
	errSlow        = errors.New("no whole answer within --timeout")
	errNoStream    = errors.New("the answer is not a stream of events")
	errInStream    = errors.New("the stream reports an error instead of the rest of the answer")
	errCut         = errors.New("the stream ended before the answer")
	errNoModels    = errors.New("the endpoint lists no models: name one with --model")
)

// statusError is the status of an answer other than 200.
type statusError int

func (e statusError) Error() string {
	return fmt.Sprintf("status %d", int(e))
}

// benchTarget is an endpoint to measure.
type benchTarget struct {
	base   string // as printed
	api    string // base of the API, which ends in /v1
	key    string
	model  string
	client *http.Client
	slots  chan struct{} // one element per request in flight
}

func newBenchTarget(address, key string, concurrency int, timeout time.Duration) (*benchTarget, error) {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, errURL
	}
	base := strings.TrimRight(u.String(), "/")
	t := &benchTarget{base: base, api: base, key: key, slots: make(chan struct{}, concurrency)}
	if !strings.HasSuffix(t.api, "/v1") {
		t.api += "/v1"
	}
	t.client = &http.Client{
		Timeout:   timeout,
		Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, MaxIdleConnsPerHost: concurrency, DisableCompression: true},
	}
	return t, nil
}

func (t *benchTarget) do(ctx context.Context, method, path string, body []byte) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, method, t.api+path, bytes.NewReader(body))
	if err != nil {
		return nil, errUnreachable
	}
	r.Header.Set("Content-Type", "application/json")
	if t.key != "" {
		r.Header.Set("Authorization", "Bearer "+t.key)
	}
	resp, err := t.client.Do(r)
	if err != nil {
		return nil, failure(err)
	}
	if resp.StatusCode != http.StatusOK {
		resp.Body.Close()
		return nil, statusError(resp.StatusCode)
	}
	return resp, nil
}

// failure returns errSlow for a timeout, otherwise errUnreachable.
func failure(err error) error {
	var timeout interface{ Timeout() bool }
	if errors.As(err, &timeout) && timeout.Timeout() {
		return errSlow
	}
	return errUnreachable
}

// chooseModel sets the model of the requests: the named one, or the first listed.
func (t *benchTarget) chooseModel(ctx context.Context, name string) error {
	if t.model = name; name != "" {
		return nil
	}
	resp, err := t.do(ctx, http.MethodGet, "/models", nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	var list struct {
		Data []struct {
			ID string `json:"id"`
		} `json:"data"`
	}
	if json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&list) != nil || len(list.Data) == 0 || list.Data[0].ID == "" {
		return errNoModels
	}
	t.model = list.Data[0].ID
	return nil
}

// drive sends all requests at their times and waits for their answers, or until
// the context ends. The salt gives each target texts of its own.
func (w *benchWork) drive(ctx context.Context, t *benchTarget, salt uint64) benchResult {
	defer t.client.CloseIdleConnections()
	m := &measurements{began: time.Now(), failed: make(map[string]int)}
	before := make(map[uint64]chan struct{}) // by session: closed when its last request ends
	var all sync.WaitGroup
	for i := range w.trace.Requests {
		at := m.began.Add(time.Duration(float64(w.trace.Requests[i].At) / w.speed))
		select {
		case <-time.After(time.Until(at)):
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			break
		}
		session := w.trace.Requests[i].Session
		earlier, ended := before[session], make(chan struct{})
		before[session] = ended
		all.Go(func() {
			defer close(ended)
			w.send(ctx, t, m, i, salt, earlier)
		})
	}
	all.Wait()
	return m.result(t)
}

// send waits for the session's previous answer and for a slot, then sends one
// request.
func (w *benchWork) send(ctx context.Context, t *benchTarget, m *measurements, number int, salt uint64, earlier <-chan struct{}) {
	if earlier != nil {
		select {
		case <-earlier:
		case <-ctx.Done():
			return
		}
	}
	select {
	case t.slots <- struct{}{}:
	default:
		m.addLate()
		select {
		case t.slots <- struct{}{}:
		case <-ctx.Done():
			return
		}
	}
	defer func() { <-t.slots }()
	one, err := t.measure(ctx, w.body(number, t.model, salt))
	if err != nil && ctx.Err() != nil {
		return // Ctrl-C ended it, not the endpoint
	}
	m.add(one, err)
}

// measurement holds what a client observes of one answer.
type measurement struct {
	ttft, total time.Duration // total ends with the answer
	usage       answer.Usage
	reported    bool
	finished    bool // the engine marked the end
	sent        time.Time
}

// measure sends one request and reads its answer to the end.
func (t *benchTarget) measure(ctx context.Context, body []byte) (m measurement, err error) {
	m.sent = time.Now()
	resp, err := t.do(ctx, http.MethodPost, "/chat/completions", body)
	if err != nil {
		return m, err
	}
	defer resp.Body.Close()
	if !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/event-stream") {
		return m, errNoStream
	}
	reader := answer.NewStream(io.Discard, nil, &m)
	reader.ExpectEnd()
	_, err = io.Copy(reader, io.LimitReader(resp.Body, maxBenchAnswer))
	m.total = time.Since(m.sent)
	closed := reader.Close()
	switch {
	case reader.Failed(): // a gateway breaks the connection behind it
		return m, errInStream
	case err != nil:
		return m, failure(err)
	case closed != nil && m.ttft > 0:
		return m, errCut
	case closed != nil || m.ttft == 0 && !m.finished:
		return m, errNoStream
	}
	if m.ttft == 0 {
		m.ttft = m.total // an empty answer is known at its end
	}
	return m, nil
}

// Response implements answer.Observer.
func (m *measurement) Response(string) {}

// FirstToken notes the time of the first token.
func (m *measurement) FirstToken() { m.ttft = time.Since(m.sent) }

// Usage notes the token counts that the engine reports.
func (m *measurement) Usage(u answer.Usage) { m.usage, m.reported = u, true }

// Finish notes that the engine marked the end of the answer.
func (m *measurement) Finish(bool) { m.finished = true }

// Interface guards
var (
	_ answer.Observer = (*measurement)(nil)
	_ error           = statusError(0)
)
