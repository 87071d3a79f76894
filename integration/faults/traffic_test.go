// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bauxite/caddy-kvaware/integration/harness"
)

// Conversations of the traffic: some are open at a time, and take turns.
const (
	openConversations    = 8
	turnsOfConversation  = 4
	bytesOfFirstQuestion = 1200
	bytesOfQuestion      = 300
)

// request returns the body of the n-th request of the site's traffic. Every fourth
// conversation streams.
func (s *site) request(n int) string {
	group, inGroup := n/(openConversations*turnsOfConversation), n%(openConversations*turnsOfConversation)
	conversation, turn := group*openConversations+inGroup%openConversations, inGroup/openConversations
	return conversationTurn(fmt.Sprint(s.host, " conversation ", conversation), turn, conversation%4 == 0)
}

// conversationTurn returns the request of a turn, from 0, of the conversation of
// this name.
func conversationTurn(name string, turn int, stream bool) string {
	seed := uint64(0)
	for _, c := range []byte(name) {
		seed = seed*31 + uint64(c)
	}
	rnd := rand.New(rand.NewPCG(seed, 13))
	messages := []map[string]string{{"role": "user", "content": name + ". " + harness.Words(rnd, bytesOfFirstQuestion)}}
	for range turn {
		messages = append(messages,
			map[string]string{"role": "assistant", "content": "Yes."},
			map[string]string{"role": "user", "content": harness.Words(rnd, bytesOfQuestion)})
	}
	body, err := json.Marshal(map[string]any{"model": "sim", "stream": stream, "messages": messages})
	if err != nil {
		panic(err)
	}
	return string(body)
}

// tally counts what has become of requests.
type tally struct {
	mu     sync.Mutex
	sent   int
	lost   int
	causes map[string]int // of losses
}

func (c *tally) add(cause string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sent++
	if cause == "" {
		return
	}
	c.lost++
	if c.causes == nil {
		c.causes = make(map[string]int)
	}
	c.causes[cause]++
}

func (c *tally) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return fmt.Sprintf("%d of %d lost %v", c.lost, c.sent, c.causes)
}

// send sends a chat request to a site, and returns the cause of its loss, or ""
// for a whole answer. What the gateway never had is sent again.
func (g *gateway) send(ctx context.Context, s *site, body string) (lost string) {
	for tries := 1; ; tries++ {
		number := strconv.FormatInt(requestNumber.Add(1), 10)
		resp, err := g.post(ctx, s, body, number)
		if seen := hasArrived(number); err != nil && !seen && ctx.Err() == nil && tries < mostTries {
			continue
		}
		switch {
		case errors.Is(err, context.DeadlineExceeded):
			return "no header in time"
		case err != nil:
			return "no header"
		}
		return wholeAnswer(resp)
	}
}

// mostTries bounds the connections that are made for one request.
const mostTries = 20

// requestNumber is the number of the last request of this process.
var requestNumber atomic.Int64

func (g *gateway) post(ctx context.Context, s *site, body, number string) (*http.Response, error) {
	if m := s.setup.model; m != "" {
		body = strings.Replace(body, `"model":"sim"`, `"model":"`+m+`"`, 1)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, g.url+s.setup.path+harness.ChatPath, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.Host = s.host
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set(arrivalHeader, number)
	return g.client.Do(r)
}

// The losses of streams: with an error event at the end, and without.
const (
	lostCut      = "cut"
	lostSilently = "cut without an error event"
)

// wholeAnswer reads an answer and returns what is wrong with it, or "".
func wholeAnswer(resp *http.Response) (lost string) {
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	switch {
	case resp.StatusCode != http.StatusOK:
		return fmt.Sprint("status ", resp.StatusCode)
	case strings.HasPrefix(resp.Header.Get("Content-Type"), "text/event-stream"):
		if err != nil || !bytes.Contains(answer, []byte("data: [DONE]")) {
			if bytes.Contains(answer, []byte(`data: {"error"`)) {
				return lostCut
			}
			return lostSilently
		}
	case err != nil || !json.Valid(answer):
		return "half an answer"
	}
	return ""
}

// mostInFlight bounds the requests of one site that wait for their answers. A
// machine that is too busy for the pace gets a slower one.
const mostInFlight = 16

// pace sends requests from to to-1 of a site's traffic, one every interval
// whatever becomes of those before, and waits for all answers. before is called
// before each; nil: nothing is.
func (g *gateway) pace(s *site, from, to int, interval time.Duration, body func(n int) string, before func(n int)) *tally {
	return g.paceFor(s, from, to, interval, 2*time.Minute, body, before)
}

// paceFor is pace with clients that give up after some time.
func (g *gateway) paceFor(s *site, from, to int, interval, patience time.Duration, body func(n int) string, before func(n int)) *tally {
	var count tally
	var answers sync.WaitGroup
	inFlight := make(chan struct{}, mostInFlight)
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for n := from; n < to; n++ {
		if before != nil {
			before(n)
		}
		inFlight <- struct{}{}
		answers.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			count.add(g.send(ctx, s, body(n)))
			<-inFlight
		})
		<-tick.C
	}
	answers.Wait()
	return &count
}
