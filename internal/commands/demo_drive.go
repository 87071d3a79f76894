// SPDX-License-Identifier: Apache-2.0

package commands

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// thinkTime is the pause of a client between an answer and its next question.
const thinkTime = 500 * time.Millisecond

// errStream reports a streamed answer without its end.
var errStream = errors.New("the answer is not a whole stream")

// demoRun sends the workload through one policy.
type demoRun struct {
	url    string
	client *http.Client

	mu     sync.Mutex
	ttft   []time.Duration
	failed int
}

func newDemoRun(url string) *demoRun {
	return &demoRun{url: url, client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 256}}}
}

// drive sends the workload through all runs at once, until it is done or the
// context ends. It calls tick at every interval.
func drive(ctx context.Context, w *workload, runs []*demoRun, every time.Duration, tick func()) {
	var all sync.WaitGroup
	for _, r := range runs {
		for _, c := range w.conversations {
			all.Go(func() { r.converse(ctx, c) })
		}
	}
	done := make(chan struct{})
	go func() {
		all.Wait()
		close(done)
	}()
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			tick()
		case <-done:
			return
		}
	}
}

// converse asks one conversation's questions, one after the other.
func (r *demoRun) converse(ctx context.Context, c conversation) {
	messages := slices.Clone(c.opening)
	wait := c.begin
	for next := 0; ; next++ {
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return
		}
		ttft, answer, err := r.ask(ctx, requestBody(messages))
		r.record(ctx, ttft, err)
		if err != nil || next == len(c.questions) {
			return
		}
		messages = append(messages, chatMessage{"assistant", answer}, chatMessage{"user", c.questions[next]})
		wait = thinkTime
	}
}

// ask sends one request and reads the streamed answer to its end.
func (r *demoRun) ask(ctx context.Context, body []byte) (ttft time.Duration, answer string, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, r.url+"/v1/chat/completions", bytes.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	request.Header.Set("Content-Type", "application/json")
	sent := time.Now()
	response, err := r.client.Do(request)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	var text strings.Builder
	in := bufio.NewScanner(response.Body)
	for in.Scan() {
		data, ok := strings.CutPrefix(in.Text(), "data: ")
		if data == "[DONE]" {
			return ttft, text.String(), nil
		}
		if !ok {
			continue
		}
		var event struct {
			Choices []struct {
				Delta struct{ Content string }
			}
		}
		if json.Unmarshal([]byte(data), &event) != nil || len(event.Choices) == 0 {
			continue
		}
		if text.WriteString(event.Choices[0].Delta.Content); ttft == 0 && text.Len() > 0 {
			ttft = time.Since(sent)
		}
	}
	return 0, "", errStream
}

func (r *demoRun) record(ctx context.Context, ttft time.Duration, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case err == nil:
		r.ttft = append(r.ttft, ttft)
	case ctx.Err() == nil:
		r.failed++
	}
}

func (r *demoRun) failures() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.failed
}

// summary returns how many answers there are and the distribution of their
// time to first token.
func (r *demoRun) summary() (answers int, p50, p95 time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.ttft) == 0 {
		return 0, 0, 0
	}
	sorted := slices.Sorted(slices.Values(r.ttft))
	return len(sorted), sorted[len(sorted)/2], sorted[len(sorted)*95/100]
}
