// SPDX-License-Identifier: Apache-2.0

package staging

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// fakeEngines answers one-token requests.
type fakeEngines struct {
	sent   []string // upstreams
	answer func(*http.Request) (status int, err error)
}

func (f *fakeEngines) RoundTrip(r *http.Request) (*http.Response, error) {
	f.sent = append(f.sent, r.URL.Host)
	status, err := f.answer(r)
	if err != nil {
		return nil, err
	}
	return &http.Response{StatusCode: status, Body: io.NopCloser(strings.NewReader(`{}`))}, nil
}

func (f *fakeEngines) CloseIdleConnections() {}

func TestWarm(t *testing.T) {
	const delay = 3 * time.Second
	answer := func(status int, err error) func(*http.Request) (int, error) {
		return func(*http.Request) (int, error) { return status, err }
	}
	hang := func(r *http.Request) (int, error) {
		<-r.Context().Done()
		return 0, r.Context().Err()
	}
	for _, c := range []struct {
		name     string
		answer   func(*http.Request) (int, error)
		needless bool
		arrives  time.Duration // the next turn; 0: it does not
		want     warmResult
		sent     int
	}{
		{name: "answered", answer: answer(200, nil), want: warmed, sent: 1},
		{name: "refused", answer: answer(401, nil), want: warmFailed, sent: 1},
		{name: "unreachable", answer: answer(0, errors.New("refused")), want: warmFailed, sent: 1},
		{name: "hangs", answer: hang, want: warmFailed, sent: 1},
		{name: "still on the GPU", answer: answer(200, nil), needless: true, want: warmNeedless},
		{name: "the turn comes before", answer: answer(200, nil), arrives: time.Second, want: warmOvertaken},
		{name: "the turn comes meanwhile", answer: hang, arrives: 2 * delay, want: warmOvertaken, sent: 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, engines, kept := newWarmer(time.Now), &fakeEngines{answer: c.answer}, new(fakeRequest)
				w.transport = engines
				turn := newNextTurns(time.Now).expect(1, "a:1")
				kept.Retain()
				w.schedule(turn, delay, func() bool { return !c.needless }, kept)
				if c.arrives > 0 {
					time.Sleep(c.arrives)
					turn.cancel()
				}
				w.running.Wait()
				if n := w.counts[c.want].Load(); n != 1 || len(engines.sent) != c.sent || kept.retained != 0 {
					t.Errorf("%s: %d, %d sent, %d bodies are kept", warmResultNames[c.want], n, len(engines.sent), kept.retained)
				}
				if paused := !w.reserve("a:1"); paused != (c.want == warmFailed) {
					t.Errorf("the upstream is paused: %v", paused)
				}
				w.close()
			})
		})
	}
}

// TestWarmLimits: one request at a time for each upstream, a pause after a failure,
// and a bound for all.
func TestWarmLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWarmer(time.Now)
		if !w.reserve("a:1") || w.reserve("a:1") || !w.reserve("b:1") {
			t.Error("not one request for each upstream")
		}
		w.free("a:1", false)
		w.free("b:1", true)
		if !w.reserve("a:1") || w.reserve("b:1") {
			t.Error("not one pause after one failure")
		}
		time.Sleep(warmPause)
		if !w.reserve("b:1") {
			t.Error("still paused after the pause")
		}
		for range maxWarming + 1 {
			kept := new(fakeRequest)
			w.schedule(newNextTurns(time.Now).expect(1, "a:1"), time.Second, func() bool { return true }, kept)
		}
		if n := w.counts[warmLimited].Load(); n != 1 {
			t.Errorf("%d of one too many were not sent", n)
		}
		w.close()
		if n := w.counts[warmLimited].Load(); n != maxWarming+1 {
			t.Errorf("%d requests ended by close, want %d", n-1, maxWarming)
		}
	})
}
