// SPDX-License-Identifier: Apache-2.0

package transport

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/bauxite/caddy-kvaware/internal/outlier"
)

// roundTripper is a base transport that a test scripts.
type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// failures is an outlier.Observer that remembers failures.
type failures struct{ seen []string }

func (f *failures) Failed(address string, k outlier.Kind) {
	f.seen = append(f.seen, address+" "+k.String())
}
func (f *failures) Ejected(string, outlier.Kind, time.Duration) {}
func (f *failures) Returned(string)                             {}

// fixture is a Transport around a scripted one, and the request that it sends.
type fixture struct {
	*Transport
	detector *outlier.Detector
	failures *failures
	logs     *observer.ObservedLogs
	replacer *caddy.Replacer
	tries    *Tries
	now      time.Time
}

func newFixture(base http.RoundTripper) *fixture {
	f := &fixture{failures: &failures{}, replacer: caddy.NewReplacer(), tries: &Tries{Retries: 2, Repeatable: true}, now: time.Unix(1_800_000_000, 0)}
	now := func() time.Time { return f.now }
	f.detector = outlier.New(now, f.failures)
	core, logs := observer.New(zap.WarnLevel)
	f.logs = logs
	f.Transport = &Transport{
		Base: base, Budget: outlier.NewBudget(now), Logger: zap.New(core), Now: now,
		Tries: func(*http.Request) *Tries { return f.tries },
	}
	return f
}

// attempt sends a request as an attempt at an address, and reads the answer.
func (f *fixture) attempt(t *testing.T, address string, others int, url string) (status int, retry bool, err error) {
	t.Helper()
	f.tries.Again()
	f.tries.Attempt = f.detector.NewAttempt(address, 0, outlier.Options{}.WithDefaults())
	f.tries.Untried = others
	ctx := context.WithValue(context.Background(), caddy.ReplacerCtxKey, f.replacer)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader([]byte("prompt")))
	if err != nil {
		t.Fatal(err)
	}
	res, err := f.RoundTrip(req)
	if err == nil {
		_, err = io.Copy(io.Discard, res.Body)
		res.Body.Close()
		status = res.StatusCode
	}
	value, _ := f.replacer.Get(RetryPlaceholder)
	retry, _ = value.(bool)
	return status, retry, err
}

func answer(status int, header ...string) *http.Response {
	h := make(http.Header)
	for i := 0; i+1 < len(header); i += 2 {
		h.Set(header[i], header[i+1])
	}
	return &http.Response{StatusCode: status, Header: h, Body: io.NopCloser(strings.NewReader("answer"))}
}

// onConnection calls the trace of a request as net/http does for a connection
// that took the whole request.
func onConnection(r *http.Request, reused bool) {
	trace := httptrace.ContextClientTrace(r.Context())
	trace.GotConn(httptrace.GotConnInfo{Reused: reused})
	io.Copy(io.Discard, r.Body)
	trace.WroteRequest(httptrace.WroteRequestInfo{})
}

var errReset = errors.New("connection reset by peer")

func TestOutcomes(t *testing.T) {
	for _, c := range []struct {
		name   string
		base   roundTripper
		failed string
		retry  bool
	}{
		{"success", func(*http.Request) (*http.Response, error) { return answer(200), nil }, "", false},
		{"bad request", func(*http.Request) (*http.Response, error) { return answer(400), nil }, "", false},
		{"500", func(*http.Request) (*http.Response, error) { return answer(500), nil }, "status", true},
		{"502", func(*http.Request) (*http.Response, error) { return answer(502), nil }, "status", true},
		{"429", func(*http.Request) (*http.Response, error) { return answer(429), nil }, "limited", true},
		{"503", func(*http.Request) (*http.Response, error) { return answer(503, "Retry-After", "9"), nil }, "limited", true},
		{"reset", func(*http.Request) (*http.Response, error) { return nil, errReset }, "reset", true},
		{"timeout", func(*http.Request) (*http.Response, error) { return nil, context.DeadlineExceeded }, "timeout", true},
		// Caddy retries failed dials without asking.
		{"refused", func(*http.Request) (*http.Response, error) {
			return nil, &net.OpError{Op: "proxyconnect", Err: reverseproxy.DialError{}}
		}, "dial", false},
	} {
		f := newFixture(c.base)
		_, retry, _ := f.attempt(t, "a", 1, "http://a/")
		want := ""
		if c.failed != "" {
			want = "a " + c.failed
		}
		if got := strings.Join(f.failures.seen, ","); got != want || retry != c.retry {
			t.Errorf("%s: failures %q, retry %v; want %q, %v", c.name, got, retry, want, c.retry)
		}
		if r, _ := f.detector.Report("a"); r.InFlight != 0 {
			t.Errorf("%s: an attempt is still under way", c.name)
		}
	}
}

func TestRetryAfterIsHonoured(t *testing.T) {
	f := newFixture(roundTripper(func(*http.Request) (*http.Response, error) { return answer(429, "Retry-After", "30"), nil }))
	f.attempt(t, "a", 1, "http://a/")
	if r, _ := f.detector.Report("a"); r.State != outlier.Busy || r.Left != 30*time.Second {
		t.Errorf("report %+v", r)
	}
}

// TestTheLastAnswerPasses checks that the answer of the last attempt is not taken
// for a retry: Caddy would close its body.
func TestTheLastAnswerPasses(t *testing.T) {
	f := newFixture(roundTripper(func(*http.Request) (*http.Response, error) { return answer(500), nil }))
	for i, want := range []bool{true, true, false} {
		if _, retry, _ := f.attempt(t, string(rune('a'+i)), 3-i, "http://a/"); retry != want {
			t.Errorf("attempt %d: retry %v", i+1, retry)
		}
	}
	f = newFixture(f.Base)
	if _, retry, _ := f.attempt(t, "a", 0, "http://a/"); retry {
		t.Error("retried without another upstream")
	}
	f = newFixture(f.Base)
	for f.Budget.Retry() {
	}
	if _, retry, _ := f.attempt(t, "a", 1, "http://a/"); retry {
		t.Error("retried without budget")
	}
}

// TestAPoisonedRequestIsNotSentToAll checks that a request that ends engines stops
// after two, and that its content is not in the log.
func TestAPoisonedRequestIsNotSentToAll(t *testing.T) {
	f := newFixture(roundTripper(func(r *http.Request) (*http.Response, error) {
		onConnection(r, false)
		return nil, errReset
	}))
	if _, retry, _ := f.attempt(t, "a", 3, "http://a/"); !retry {
		t.Error("not retried after one reset")
	}
	if _, retry, _ := f.attempt(t, "b", 2, "http://b/"); retry {
		t.Error("retried after two resets behind the body")
	}
	if f.logs.Len() != 1 || strings.Contains(f.logs.All()[0].Message, "prompt") {
		t.Errorf("log %+v", f.logs.All())
	}
}

// TestAnEngineThatDiesOfARequest checks that a failed dial behind a connection that
// took the request counts as a reset: Caddy retries failed dials without asking.
func TestAnEngineThatDiesOfARequest(t *testing.T) {
	calls := 0
	f := newFixture(roundTripper(func(r *http.Request) (*http.Response, error) {
		if calls++; calls == 1 {
			onConnection(r, true)
			return nil, errReset
		}
		return nil, reverseproxy.DialError{}
	}))
	_, _, err := f.attempt(t, "a", 3, "http://a/")
	if !errors.Is(err, errReset) || calls != 2 || f.failures.seen[0] != "a reset" {
		t.Errorf("error %v after %d calls, failures %q", err, calls, f.failures.seen)
	}
}

// TestSecondOpinion checks that an upstream that does nothing but refuse is ejected
// only if another accepts the same request.
func TestSecondOpinion(t *testing.T) {
	other := 200
	f := newFixture(roundTripper(func(r *http.Request) (*http.Response, error) {
		if r.URL.Host == "bad" {
			return answer(401), nil
		}
		return answer(other), nil
	}))
	refuse := func() (retry bool) {
		f.tries = &Tries{Retries: 2, Repeatable: true}
		_, retry, _ = f.attempt(t, "bad", 1, "http://bad/")
		return retry
	}
	for range 2 {
		if refuse() {
			t.Fatal("asked another upstream after one or two refusals")
		}
	}
	if !refuse() {
		t.Fatal("no second opinion after three refusals")
	}
	other = 400
	if _, retry, _ := f.attempt(t, "good", 0, "http://good/"); retry {
		t.Error("retried again")
	}
	if len(f.failures.seen) != 0 {
		t.Fatalf("failures %q: the client was at fault", f.failures.seen)
	}
	other = 200
	for !refuse() {
	}
	f.attempt(t, "good", 0, "http://good/")
	if r, _ := f.detector.Report("bad"); r.State != outlier.Out {
		t.Errorf("report %+v", r)
	}
}

func TestACutAnswerFails(t *testing.T) {
	f := newFixture(roundTripper(func(*http.Request) (*http.Response, error) {
		res := answer(200)
		res.Body = io.NopCloser(io.MultiReader(strings.NewReader("half"), errorReader{}))
		return res, nil
	}))
	f.attempt(t, "a", 1, "http://a/")
	if len(f.failures.seen) != 1 || f.failures.seen[0] != "a cut" {
		t.Errorf("failures %q", f.failures.seen)
	}
}

type errorReader struct{}

func (errorReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// TestAClientThatLeavesFailsNothing checks the error and the early close.
func TestAClientThatLeavesFailsNothing(t *testing.T) {
	ctx, leave := context.WithCancel(context.Background())
	f := newFixture(roundTripper(func(r *http.Request) (*http.Response, error) {
		leave()
		return nil, r.Context().Err()
	}))
	f.tries.Attempt = f.detector.NewAttempt("a", 0, outlier.Options{})
	f.tries.Untried = 1
	req, _ := http.NewRequestWithContext(ctx, http.MethodPost, "http://a/", http.NoBody)
	if _, err := f.RoundTrip(req); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	f.Base = roundTripper(func(*http.Request) (*http.Response, error) { return answer(200), nil })
	f.tries = &Tries{Attempt: f.detector.NewAttempt("a", 0, outlier.Options{})}
	res, err := f.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if r, _ := f.detector.Report("a"); len(f.failures.seen) != 0 || r.InFlight != 0 {
		t.Errorf("failures %q, report %+v", f.failures.seen, r)
	}
}

// TestClosedKeepAlives sends requests to a server that closes each connection after
// its answer without saying so. None may fail.
func TestClosedKeepAlives(t *testing.T) {
	var served atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		served.Add(1)
		io.Copy(io.Discard, r.Body)
		io.WriteString(w, "answer")
	}))
	defer server.Close()
	base := &http.Transport{MaxIdleConnsPerHost: 32}
	defer base.CloseIdleConnections()
	f := newFixture(base)
	for i := range 300 {
		f.tries = &Tries{Retries: 2, Repeatable: true}
		status, retry, err := f.attempt(t, "a", 0, server.URL)
		if status != 200 || retry || err != nil {
			t.Fatalf("request %d: status %d, error %v", i, status, err)
		}
		server.CloseClientConnections()
	}
	if len(f.failures.seen) != 0 || served.Load() < 300 {
		t.Errorf("failures %q", f.failures.seen)
	}
}

// TestAProbeIsNotHeldForEver checks that a probe of a hanging upstream ends when its
// answer is overdue, with an error that is not that of a client that left.
func TestAProbeIsNotHeldForEver(t *testing.T) {
	f := newFixture(roundTripper(func(r *http.Request) (*http.Response, error) {
		<-r.Context().Done()
		return nil, context.Cause(r.Context())
	}))
	for range 3 {
		a := f.detector.NewAttempt("a", 0, outlier.Options{}.WithDefaults())
		a.Start()
		a.Fail(outlier.Dial, 0)
	}
	f.now = f.now.Add(outlier.DefaultBase)
	f.tries.Attempt = f.detector.NewAttempt("a", time.Millisecond, outlier.Options{}.WithDefaults())
	f.tries.Untried = 1
	req, _ := http.NewRequest(http.MethodPost, "http://a/", http.NoBody)
	_, err := f.RoundTrip(req)
	if !errors.Is(err, errOverdue) || errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	if last := f.failures.seen[len(f.failures.seen)-1]; last != "a timeout" {
		t.Errorf("failures %q", f.failures.seen)
	}
}

func TestRequestsOfOthersPassUntouched(t *testing.T) {
	want := &http.Response{}
	f := newFixture(roundTripper(func(*http.Request) (*http.Response, error) { return want, nil }))
	f.tries = nil
	if got, _ := f.RoundTrip(httptest.NewRequest("GET", "http://a/health", nil)); got != want {
		t.Error("a health check was changed")
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"": 0, "5": 5 * time.Second, "0": 0, "-1": 0, "x": 0, "99999999999": 0,
		now.Add(time.Minute).Format(http.TimeFormat):  time.Minute,
		now.Add(-time.Minute).Format(http.TimeFormat): 0,
	} {
		if got := retryAfter(http.Header{"Retry-After": {value}}, now); got != want {
			t.Errorf("%q: %v, want %v", value, got, want)
		}
	}
}

// TestStaleConnectionsAreReplayed checks the replays one by one: the body is sent
// whole each time, and nothing counts as a failure.
func TestStaleConnectionsAreReplayed(t *testing.T) {
	calls := 0
	f := newFixture(roundTripper(func(r *http.Request) (*http.Response, error) {
		calls++
		if got, _ := io.ReadAll(r.Body); string(got) != "prompt" {
			t.Errorf("call %d got the body %q", calls, got)
		}
		httptrace.ContextClientTrace(r.Context()).GotConn(httptrace.GotConnInfo{Reused: calls <= maxReplays})
		if calls <= maxReplays {
			return nil, errReset
		}
		return answer(200), nil
	}))
	status, _, err := f.attempt(t, "a", 0, "http://a/")
	if status != 200 || err != nil || calls != maxReplays+1 || len(f.failures.seen) != 0 {
		t.Errorf("status %d, error %v after %d calls, failures %q", status, err, calls, f.failures.seen)
	}
}

// TestUnknownRequestsAreNotSentTwice checks that a request that is none to a model
// is tried again only where the upstream has not taken it.
func TestUnknownRequestsAreNotSentTwice(t *testing.T) {
	for _, c := range []struct {
		name  string
		base  roundTripper
		retry bool
	}{
		{"500", func(*http.Request) (*http.Response, error) { return answer(500), nil }, false},
		{"429", func(*http.Request) (*http.Response, error) { return answer(429), nil }, true},
		{"reset", func(r *http.Request) (*http.Response, error) {
			onConnection(r, true)
			return nil, errReset
		}, false},
	} {
		calls := 0
		f := newFixture(roundTripper(func(r *http.Request) (*http.Response, error) {
			calls++
			return c.base(r)
		}))
		f.tries.Repeatable = false
		if _, retry, _ := f.attempt(t, "a", 1, "http://a/"); retry != c.retry || calls != 1 {
			t.Errorf("%s: retry %v after %d calls", c.name, retry, calls)
		}
	}
}
