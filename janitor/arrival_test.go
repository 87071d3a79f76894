// SPDX-License-Identifier: Apache-2.0

package janitor

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bauxite/caddy-kvaware/internal/admission"
	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// newServer serves the handler over real connections, with an engine behind it
// that answers with the size of the body. peak is the most that was counted at
// once.
func newServer(t *testing.T, configure func(*Handler)) (h *Handler, addr string, peak *atomic.Int64) {
	t.Helper()
	h = newHandler(t, configure)
	peak = new(atomic.Int64)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx := context.WithValue(r.Context(), caddyhttp.VarsCtxKey, make(map[string]any))
		ctx = context.WithValue(ctx, caddy.ReplacerCtxKey, caddy.NewReplacer())
		err := h.ServeHTTP(w, r.WithContext(ctx), caddyhttp.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
			for used := h.queue.Used(); used > peak.Load(); {
				peak.Store(used)
			}
			n, err := io.Copy(io.Discard, r.Body)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(w, "%d", n)
			return err
		}))
		if err != nil {
			t.Errorf("ServeHTTP: %v", err)
		}
	}))
	t.Cleanup(func() {
		server.Close()
		wantEmpty(t, h.queue)
	})
	return h, server.Listener.Addr().String(), peak
}

// stallUpload announces a body of size bytes and sends only some of it.
func stallUpload(t *testing.T, addr string, size, sent int) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	body := chat(strings.Repeat("x", size))
	_, err = fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", chatPath, len(body), body[:sent])
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// waitFor polls until the condition holds, as long as the test may run.
func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for !ok() {
		select {
		case <-t.Context().Done():
			t.Fatalf("never: %s", what)
		case <-time.After(time.Millisecond):
		}
	}
}

// Fifty clients that stall in the middle of large uploads keep no other request
// out, although they need more than the limit and share its client's address.
func TestStalledUploadsLockNobodyOut(t *testing.T) {
	h, addr, peak := newServer(t, func(h *Handler) {
		h.InFlightLimit = 4_000_000
		h.AdmitWait = caddy.Duration(500 * time.Millisecond)
	})
	for range 50 {
		stallUpload(t, addr, 1_000_000, 100_000)
	}
	waitFor(t, "the stalled uploads fill the share", func() bool { return h.queue.Used() > 1_500_000 })
	waitFor(t, "those that found no room have been told", func() bool {
		return h.queue.Stats().Waiting == 0
	})
	for i := range 20 {
		resp, err := http.Post("http://"+addr+chatPath, "application/json", strings.NewReader(chat(strings.Repeat("y", 300_000))))
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != 200 {
			t.Errorf("request %d: status %d", i, resp.StatusCode)
		}
	}
	if peak.Load() > h.InFlightLimit {
		t.Errorf("%d bytes held, above the limit", peak.Load())
	}
}

// Of two hundred requests at once, five times the limit, most are served, and the
// limit is never exceeded.
func TestManyLargeRequests(t *testing.T) {
	h, addr, peak := newServer(t, func(h *Handler) {
		h.InFlightLimit = 16_000_000
		h.AdmitWait = caddy.Duration(10 * time.Second)
	})
	body := chat(mail + strings.Repeat(" abc", 100_000))
	var wg sync.WaitGroup
	var served atomic.Int32
	for range 200 {
		wg.Go(func() {
			resp, err := http.Post("http://"+addr+chatPath, "application/json", strings.NewReader(body))
			if err != nil {
				return
			}
			defer resp.Body.Close()
			got, _ := io.ReadAll(resp.Body)
			if want := fmt.Sprint(len(body) - len(mail) + len("[EMAIL_1]")); resp.StatusCode == 200 && string(got) == want {
				served.Add(1)
			} else if resp.StatusCode != 507 || resp.Header.Get("Retry-After") == "" {
				t.Errorf("status %d: %s", resp.StatusCode, got)
			}
		})
	}
	wg.Wait()
	if served.Load() < 100 {
		t.Errorf("only %d of 200 served", served.Load())
	}
	if peak.Load() > h.InFlightLimit {
		t.Errorf("%d bytes held, above the limit", peak.Load())
	}
	waitFor(t, "the memory comes back", func() bool { return h.queue.Used() == 0 })
}

// A body that does not arrive in time is refused before its rest is read.
func TestReadTimeout(t *testing.T) {
	_, addr, _ := newServer(t, func(h *Handler) { h.ReadTimeout = caddy.Duration(50 * time.Millisecond) })
	for _, sent := range []int{0, 10, 5000} {
		c := stallUpload(t, addr, 10_000, sent)
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatalf("%d bytes sent: %v", sent, err)
		}
		b, _ := io.ReadAll(resp.Body)
		if resp.StatusCode != 408 || !bytes.Contains(b, []byte(`"timeout"`)) || !resp.Close {
			t.Errorf("%d bytes sent: status %d, close %t: %s", sent, resp.StatusCode, resp.Close, b)
		}
	}
}

// Where the server has no deadlines, the time is checked between reads.
func TestReadTimeoutWithoutDeadlines(t *testing.T) {
	for _, length := range []int64{-1, 1 << 20} {
		h := newHandler(t, func(h *Handler) { h.ReadTimeout = caddy.Duration(20 * time.Millisecond) })
		synctest.Test(t, func(t *testing.T) {
			h.queue = admission.New()
			r := newRequest("POST", chatPath, io.MultiReader(strings.NewReader(`{"messages":[`), slowReader{}))
			r.ContentLength = length
			if w, e := serve(t, h, r); w.Code != 408 || e.called {
				t.Errorf("status %d: %s", w.Code, w.Body)
			}
			wantEmpty(t, h.queue)
		})
	}
}

// slowReader is a body without end that sends a byte every 5 ms.
type slowReader struct{}

func (slowReader) Read(p []byte) (int, error) {
	time.Sleep(5 * time.Millisecond)
	p[0] = ' '
	return 1, nil
}

// A client that leaves in the middle of its upload leaves nothing behind.
func TestClientGone(t *testing.T) {
	h, addr, _ := newServer(t, func(*Handler) {})
	c := stallUpload(t, addr, 1_000_000, 100_000)
	waitFor(t, "the upload is there", func() bool { return h.queue.Used() > 100_000 })
	_ = c.Close()
	waitFor(t, "the memory comes back", func() bool { return h.queue.Used() == 0 })
}

// After a request the connection serves another one.
func TestKeepAlive(t *testing.T) {
	_, addr, _ := newServer(t, func(*Handler) {})
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	br := bufio.NewReader(c)
	for i := range 3 {
		body := chat("hi " + mail)
		fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", chatPath, len(body), body)
		resp, err := http.ReadResponse(br, nil)
		if err != nil {
			t.Fatalf("request %d: %v", i, err)
		}
		if b, _ := io.ReadAll(resp.Body); resp.StatusCode != 200 || resp.Close {
			t.Errorf("request %d: status %d, close %t: %s", i, resp.StatusCode, resp.Close, b)
		}
	}
}

// deadlines records the read deadlines of a connection.
type deadlines struct {
	*httptest.ResponseRecorder
	set []time.Time
}

func (d *deadlines) SetReadDeadline(t time.Time) error {
	d.set = append(d.set, t)
	return nil
}

// No deadline is left after the body: the next request on the connection may come
// later, and the server watches the connection meanwhile.
func TestNoDeadlineAfterTheBody(t *testing.T) {
	for _, chunked := range []bool{false, true} {
		h := newHandler(t)
		w := &deadlines{ResponseRecorder: httptest.NewRecorder()}
		r := postChat("hi")
		if chunked {
			r.ContentLength = -1
		}
		if err := h.ServeHTTP(w, r, new(engine)); err != nil {
			t.Fatal(err)
		}
		if n := len(w.set); n == 0 || !w.set[n-1].IsZero() || w.set[0].IsZero() != chunked {
			t.Errorf("chunked %t: deadlines %v", chunked, w.set)
		}
	}
}

// Memory follows what arrives, not what is announced.
func TestLiarAboutLength(t *testing.T) {
	h, addr, _ := newServer(t, func(*Handler) {})
	stallUpload(t, addr, 30_000_000, 1000)
	waitFor(t, "the upload is there", func() bool { return h.queue.Used() > 0 })
	if used := h.queue.Used(); used > 3*bufferFirst {
		t.Errorf("%d bytes held for 1000 that came", used)
	}
}

// A refusal reaches a client that is still sending: its connection is not reset.
func TestRefusalReachesTheClient(t *testing.T) {
	_, addr, _ := newServer(t, func(h *Handler) { h.MaxSize = 1000 })
	for _, size := range []int{2000, 100_000, 400_000} {
		for _, announced := range []bool{true, false} {
			var body io.Reader = strings.NewReader(chat(strings.Repeat("x", size)))
			if !announced {
				body = io.MultiReader(body)
			}
			resp, err := http.Post("http://"+addr+chatPath, "application/json", body)
			if err != nil {
				t.Errorf("%d bytes, announced %t: %v", size, announced, err)
				continue
			}
			_ = resp.Body.Close()
			if resp.StatusCode != 413 {
				t.Errorf("%d bytes, announced %t: status %d", size, announced, resp.StatusCode)
			}
		}
	}
}
