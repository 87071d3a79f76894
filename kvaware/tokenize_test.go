// SPDX-License-Identifier: Apache-2.0

package kvaware

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
)

func TestTokenizeOptions(t *testing.T) {
	t.Setenv("EVENTS_HOST", "node-a")
	events := func() *Events { return &Events{Address: "tcp://{env.EVENTS_HOST}:5557"} }
	lmcache := func() *LMCache { return &LMCache{Address: "http://node-a:8080"} }
	for _, c := range []struct {
		name     string
		p        Policy
		want     string
		deadline time.Duration
		err      error
	}{
		{name: "nothing", p: Policy{}},
		{name: "events", p: Policy{Events: events()}, want: "after"},
		{name: "LMCache", p: Policy{LMCache: lmcache()}, want: "after"},
		{name: "off", p: Policy{Events: events(), Tokenize: "off"}, want: "off"},
		{name: "inline", p: Policy{Events: events(), Tokenize: "inline"}, want: "inline", deadline: 20 * time.Millisecond},
		{name: "inline for long", p: Policy{Events: events(), Tokenize: "inline", TokenizeDeadline: caddy.Duration(10 * time.Second)}, want: "inline", deadline: 10 * time.Second},

		{name: "inline for too long", p: Policy{Events: events(), Tokenize: "inline", TokenizeDeadline: caddy.Duration(10*time.Second + 1)}, err: errTokenize},
		{name: "inline for less than nothing", p: Policy{Events: events(), Tokenize: "inline", TokenizeDeadline: -1}, err: errTokenize},
		{name: "after a time", p: Policy{Events: events(), Tokenize: "after", TokenizeDeadline: 1}, err: errTokenize},
		{name: "sometimes", p: Policy{Events: events(), Tokenize: "sometimes"}, err: errTokenize},
		{name: "without a need", p: Policy{Tokenize: "after"}, err: errTokenizeAlone},
		{name: "a time without a need", p: Policy{TokenizeDeadline: 1}, err: errTokenizeAlone},
		{name: "LMCache without tokens", p: Policy{LMCache: lmcache(), Tokenize: "off"}, err: errStagingBlind},
		{name: "events nowhere", p: Policy{Events: &Events{}}, err: errEvents},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.p.setDefaults()
			if err := c.p.Validate(); !errors.Is(err, c.err) {
				t.Fatalf("error %v, want %v", err, c.err)
			}
			if c.err != nil {
				return
			}
			if c.p.Tokenize != c.want || time.Duration(c.p.TokenizeDeadline) != c.deadline {
				t.Errorf("tokenize %q with %v", c.p.Tokenize, time.Duration(c.p.TokenizeDeadline))
			}
			if c.p.Events != nil && c.p.Events.Address != "tcp://node-a:5557" {
				t.Errorf("events at %s", c.p.Events.Address)
			}
		})
	}
}

// Waiting for tokens ends with them, with the request, or when it was long
// enough.
func TestWaitFor(t *testing.T) {
	ready, never := make(chan struct{}), make(chan struct{})
	close(ready)
	gone, cancel := context.WithCancel(context.Background())
	cancel()
	began := time.Now()
	waitFor(context.Background(), ready, time.Hour)
	waitFor(gone, never, time.Hour)
	waitFor(context.Background(), never, time.Millisecond)
	if took := time.Since(began); took < time.Millisecond || took > time.Minute {
		t.Errorf("it took %v", took)
	}
}

// Tokens come from the engine that answers: not from one that has failed, nor from
// another one that gave none.
func TestTokensComeFromTheAnsweringEngine(t *testing.T) {
	var f tokenFetch
	if f.awaited("a") {
		t.Error("nothing was fetched yet")
	}
	f.begin("a")
	if !f.awaited("a") || !f.awaited("b") || f.number != 0 {
		t.Errorf("under way: %+v", f)
	}
	f.vain.Store(true)
	if !f.awaited("a") || f.awaited("b") {
		t.Error("a gave nothing: b is to be asked, a is not")
	}
	f.vain.Store(false)
	f.attemptFailed("b")
	if !f.awaited("b") {
		t.Error("an attempt at b says nothing about a's tokens")
	}
	f.attemptFailed("a")
	if f.awaited("b") {
		t.Error("the attempt at a has failed: b is to be asked")
	}
	if f.begin("b"); f.number != 1 {
		t.Error("two fetches with one number")
	}
	f = tokenFetch{from: "a"} // staging fetches them
	if !f.awaited("a") || !f.awaited("b") {
		t.Error("the tokens for staging serve both")
	}
}
