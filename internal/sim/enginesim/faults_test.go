// SPDX-License-Identifier: Apache-2.0

package enginesim

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

func fault(t *testing.T, e *Engine, faults ...Fault) {
	t.Helper()
	if err := e.Fault(faults...); err != nil {
		t.Fatal(err)
	}
}

// client has its own connections, so that no test inherits a broken one.
func client(t *testing.T) *http.Client {
	c := &http.Client{Transport: &http.Transport{DisableCompression: true}}
	t.Cleanup(c.CloseIdleConnections)
	return c
}

func TestRefuseAndHeal(t *testing.T) {
	e := start(t, Config{})
	c := client(t)
	before := e.Addr()
	for _, kind := range []FaultKind{Refuse, Crash} {
		res, err := c.Post(e.URL()+"/v1/chat/completions", "", strings.NewReader(chatBody("x", "")))
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, res.Body)
		res.Body.Close()
		fault(t, e, Fault{Kind: kind})
		// The kept-alive connection is gone, whether or not the client has noticed,
		// and a new one is refused.
		if _, err := c.Post(e.URL()+"/v1/chat/completions", "", strings.NewReader(chatBody("x", ""))); err == nil {
			t.Fatalf("kind %d: an answer from a dead node", kind)
		}
		c.CloseIdleConnections()
		if _, err := c.Post(e.URL()+"/v1/chat/completions", "", strings.NewReader(chatBody("x", ""))); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Fatalf("kind %d: %v, want connection refused", kind, err)
		}
		if e.Addr() != before {
			t.Errorf("the address became %s", e.Addr())
		}
		if err := e.Heal(); err != nil {
			t.Fatal(err)
		}
		if res, _ := post(t, e, "/v1/chat/completions", chatBody("x", "")); res.StatusCode != http.StatusOK {
			t.Errorf("after Heal: %s", res.Status)
		}
		http.DefaultClient.CloseIdleConnections()
	}
}

func TestRefuseLetsRequestsUnderWayFinish(t *testing.T) {
	for kind, want := range map[FaultKind]bool{Refuse: true, Crash: false} {
		cfg := Config{Responder: Echo, PrefillRate: 100, Speed: 10}
		if kind == Crash {
			cfg.PrefillRate, cfg.Speed = 1, 1 // slower than the crash
		}
		e := start(t, cfg)
		res, err := client(t).Post(e.URL()+"/v1/chat/completions", "", strings.NewReader(chatBody("still here", `,"stream":true`)))
		if err != nil {
			t.Fatal(err)
		}
		fault(t, e, Fault{Kind: kind})
		body, err := io.ReadAll(res.Body)
		res.Body.Close()
		if finished := err == nil && strings.HasSuffix(string(body), doneEvent); finished != want {
			t.Errorf("kind %d: finished %v (%v)", kind, finished, err)
		}
	}
}

func TestCrashForgetsTheCache(t *testing.T) {
	e := start(t, Config{})
	long := chatBody(strings.Repeat("four", 100), "")
	post(t, e, "/v1/chat/completions", long)
	fault(t, e, Fault{Kind: Crash})
	if err := e.Heal(); err != nil {
		t.Fatal(err)
	}
	http.DefaultClient.CloseIdleConnections()
	post(t, e, "/v1/chat/completions", long)
	if s := e.Stats(); s.CachedTokens != 0 || s.Served != 1 {
		t.Errorf("stats %+v", s)
	}
}

// TestCounting checks that Skip and Count are counts, and that Path and the method
// select requests.
func TestCounting(t *testing.T) {
	e := start(t, Config{})
	fault(t, e, Fault{Kind: Status, Status: 503, Skip: 1, Count: 2}, Fault{Kind: Status, Path: "/health", Count: 1})
	get(t, e, "/metrics") // a fault without Path ignores GETs
	var got []int
	for range 5 {
		res, _ := post(t, e, "/v1/chat/completions", chatBody("x", ""))
		got = append(got, res.StatusCode)
	}
	if !slices.Equal(got, []int{200, 503, 503, 200, 200}) {
		t.Errorf("statuses %v", got)
	}
	for _, want := range []int{500, 200} {
		if status, _ := get(t, e, "/health"); status != want {
			t.Errorf("health %d, want %d", status, want)
		}
	}
	fault(t, e, Fault{Kind: Status, Status: 429, RetryAfter: "7"})
	for range 3 {
		if res, body := post(t, e, "/v1/messages", chatBody("x", "")); res.StatusCode != 429 || res.Header.Get("Retry-After") != "7" || !strings.Contains(body, `"type":"error"`) {
			t.Errorf("%s %s %s", res.Status, res.Header, body)
		}
	}
	if err := e.Heal(); err != nil {
		t.Fatal(err)
	}
	if res, _ := post(t, e, "/v1/chat/completions", chatBody("x", "")); res.StatusCode != 200 {
		t.Errorf("after Heal: %s", res.Status)
	}
	if e.Fault(Fault{}) == nil {
		t.Error("an unknown kind was taken")
	}
}

func TestHang(t *testing.T) {
	e := start(t, Config{})
	fault(t, e, Fault{Kind: Hang})
	// One client gives up ...
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	r, _ := http.NewRequestWithContext(ctx, http.MethodPost, e.URL()+"/v1/completions", strings.NewReader(`{"prompt":"x"}`))
	if _, err := client(t).Do(r); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("a hanging engine answered: %v", err)
	}
	// ... another waits until Heal.
	body := &signalBody{Reader: strings.NewReader(`{"prompt":"x"}`), read: make(chan struct{})}
	w, done := httptest.NewRecorder(), make(chan struct{})
	go func() {
		defer close(done)
		e.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/v1/completions", body))
	}()
	<-body.read
	if err := e.Heal(); err != nil {
		t.Fatal(err)
	}
	<-done
	if w.Code != http.StatusOK {
		t.Errorf("status %d after Heal", w.Code)
	}
}

// signalBody signals its end.
type signalBody struct {
	io.Reader
	read chan struct{}
}

func (b *signalBody) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if err == io.EOF {
		close(b.read)
	}
	return n, err
}

func TestDelay(t *testing.T) {
	e := start(t, Config{Speed: 1e6})
	fault(t, e, Fault{Kind: Delay, Delay: 30 * time.Millisecond, Count: 1})
	begin := time.Now()
	post(t, e, "/v1/completions", `{"prompt":"x"}`)
	if d := time.Since(begin); d < 30*time.Millisecond {
		t.Errorf("answered after %v", d)
	}
	// The engine's time does not include the delay.
	if ttft := e.Served()[0].TTFT; ttft != 125*time.Microsecond {
		t.Errorf("TTFT %v", ttft)
	}
}

// TestReset checks that the connection breaks after the whole body was read. A
// gateway must still have the body then.
func TestReset(t *testing.T) {
	e := start(t, Config{Record: 1})
	fault(t, e, Fault{Kind: Reset, Count: 1})
	body := chatBody(strings.Repeat("long ", 50000), "")
	_, err := client(t).Post(e.URL()+"/v1/chat/completions", "", strings.NewReader(body))
	if !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, io.EOF) {
		t.Fatalf("%v, want a reset", err)
	}
	if got := e.Received(); len(got) != 1 || string(got[0].Body) != body {
		t.Error("the body was not read before the reset")
	}
}

func TestCut(t *testing.T) {
	e := start(t, Config{Responder: Echo})
	fault(t, e, Fault{Kind: Cut, Chunks: 3, Count: 2})
	res, err := client(t).Post(e.URL()+"/v1/chat/completions", "", strings.NewReader(chatBody("aaaabbbbccccdddd", `,"stream":true`)))
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(res.Body)
	res.Body.Close()
	if !errors.Is(err, io.ErrUnexpectedEOF) || streamText(t, string(body)) != "aaaabbbb" {
		t.Errorf("%v after %q", err, body)
	}
	res, err = client(t).Post(e.URL()+"/v1/chat/completions", "", strings.NewReader(chatBody("x", "")))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if body, err := io.ReadAll(res.Body); err == nil || len(body) == 0 || bytes.HasSuffix(body, []byte("}}")) {
		t.Errorf("a whole answer: %v after %q", err, body)
	}
}

func TestStall(t *testing.T) {
	e := start(t, Config{Responder: Echo})
	fault(t, e, Fault{Kind: Stall, Chunks: 2, Count: 1})
	res, err := client(t).Post(e.URL()+"/v1/chat/completions", "", strings.NewReader(chatBody("aaaabbbbcccc", `,"stream":true`)))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	in := bufio.NewReader(res.Body)
	var head strings.Builder
	for range 4 { // two records of two lines
		line, err := in.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		head.WriteString(line)
	}
	if got := streamText(t, head.String()); got != "aaaa" {
		t.Errorf("before the stall: %q", got)
	}
	if err := e.Heal(); err != nil {
		t.Fatal(err)
	}
	rest, err := io.ReadAll(in)
	if got := streamText(t, string(rest)); err != nil || got != "bbbbcccc" {
		t.Errorf("after Heal: %q, %v", got, err)
	}
}

func TestGzip(t *testing.T) {
	e := start(t, Config{Responder: Echo})
	fault(t, e, Fault{Kind: Gzip})
	for _, more := range []string{"", `,"stream":true`} {
		res, err := client(t).Post(e.URL()+"/v1/chat/completions", "", strings.NewReader(chatBody("squeeze me", more)))
		if err != nil {
			t.Fatal(err)
		}
		if res.Header.Get("Content-Encoding") != "gzip" {
			t.Errorf("header %v", res.Header)
		}
		zip, err := gzip.NewReader(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(zip)
		res.Body.Close()
		if err != nil || (more == "" && !strings.Contains(string(body), `"content":"squeeze me"`)) ||
			(more != "" && streamText(t, string(body)) != "squeeze me") {
			t.Errorf("%v in %q", err, body)
		}
	}
}

// TestRecording checks the recorded requests.
func TestRecording(t *testing.T) {
	e := start(t, Config{Record: 2, MaxBody: 1000})
	for _, text := range []string{"one", "two", "three"} {
		post(t, e, "/v1/chat/completions", chatBody(text, ""))
	}
	got := e.Received()
	if len(got) != 2 || string(got[0].Body) != chatBody("two", "") || string(got[1].Body) != chatBody("three", "") ||
		got[1].Request != 3 || got[1].Path != "/v1/chat/completions" || got[1].Header.Get("Content-Type") != "application/json" {
		t.Errorf("received %+v", got)
	}
	if res, _ := post(t, e, "/v1/chat/completions", chatBody(strings.Repeat("x", 1000), "")); res.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("a large body: %s", res.Status)
	}
	if n := len(e.Received()[1].Body); n > 1000 {
		t.Errorf("%d bytes of a refused body were kept", n)
	}
}
