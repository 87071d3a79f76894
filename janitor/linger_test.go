// SPDX-License-Identifier: Apache-2.0

package janitor

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"
)

// plainClient sends a whole request and reads the answer only then.
type plainClient struct {
	net.Conn
	t *testing.T
}

func dialPlain(t *testing.T, addr string) *plainClient {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	// Little must fit into the buffers on the way, or all of a body could be sent to a server that reads nothing.
	_ = c.(*net.TCPConn).SetWriteBuffer(16 << 10)
	return &plainClient{c, t}
}

// send sends a header and n bytes of body, in chunks if its length is not
// announced. It fails when the connection does not take them.
func (c *plainClient) send(header string, announced, n int) error {
	if err := c.begin(header, announced, 0); err != nil {
		return err
	}
	return c.rest(announced, n)
}

// begin sends a header and the first n bytes of the body.
func (c *plainClient) begin(header string, announced, n int) error {
	length := fmt.Sprintf("Content-Length: %d", announced)
	if announced < 0 {
		length = "Transfer-Encoding: chunked"
	}
	if _, err := fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: x\r\n%s\r\n%s\r\n", chatPath, length, header); err != nil {
		return err
	}
	return c.part(announced, n)
}

// part sends n bytes of the body.
func (c *plainClient) part(announced, n int) error {
	piece := strings.Repeat("x", 1000)
	for ; n > 0; n -= len(piece) {
		text := piece[:min(n, len(piece))]
		if announced < 0 {
			text = fmt.Sprintf("%x\r\n%s\r\n", len(text), text)
		}
		if _, err := io.WriteString(c, text); err != nil {
			return err
		}
	}
	return nil
}

// rest sends the last n bytes of the body.
func (c *plainClient) rest(announced, n int) error {
	if err := c.part(announced, n); err != nil || announced >= 0 {
		return err
	}
	_, err := io.WriteString(c, "0\r\n\r\n")
	return err
}

// status reads the answer, which must be whole and the connection's last.
func (c *plainClient) status() int {
	c.t.Helper()
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		c.t.Errorf("reading the answer: %v", err)
		return 0
	}
	if b, err := io.ReadAll(resp.Body); err != nil || !strings.HasSuffix(string(b), "}\n") {
		c.t.Errorf("reading the answer: %v after %q", err, b)
	}
	if !resp.Close {
		c.t.Error("the answer does not close the connection")
	}
	return resp.StatusCode
}

// A client that reads nothing before it has sent everything gets its answer, up
// to sizes well above the limit.
func TestRefusalAfterWholeUpload(t *testing.T) {
	for _, limit := range []int{1000, 2_000_000} {
		_, addr, _ := newServer(t, func(h *Handler) { h.MaxSize = int64(limit) })
		for _, size := range []int{limit + 1, limit + 300_000, limit + limit*9/10} {
			for _, header := range []string{"", "Connection: close\r\n", "Content-Encoding: odd\r\n"} {
				for _, announced := range []int{size, -1} {
					c := dialPlain(t, addr)
					what := fmt.Sprintf("%d bytes of %d, announced %d, %q", size, limit, announced, header)
					if err := c.send(header, announced, size); err != nil {
						t.Errorf("%s: %v", what, err)
						continue
					}
					if got := c.status(); got != 413 && got != 415 {
						t.Errorf("%s: status %d", what, got)
					}
					if _, err := c.Read(make([]byte, 1)); err != io.EOF {
						t.Errorf("%s: the connection ended with %v", what, err)
					}
				}
			}
		}
	}
}

// A body far above the limit is refused without being read, and the client can
// still read why.
func TestHugeUploadIsNotRead(t *testing.T) {
	_, addr, _ := newServer(t, func(h *Handler) { h.MaxSize = 1_000_000 })
	for _, header := range []string{"", "Connection: close\r\n"} {
		c := dialPlain(t, addr)
		refused := make(chan error)
		go func() { refused <- c.send(header, 1_000_000_000, 1_000_000_000) }()
		if got := c.status(); got != 413 {
			t.Errorf("status %d", got)
		}
		if <-refused == nil {
			t.Error("a gigabyte was read")
		}
	}
}

// Chunks without end are read up to the bound only.
func TestEndlessUploadEnds(t *testing.T) {
	_, addr, _ := newServer(t, func(h *Handler) { h.MaxSize = 1_000_000 })
	c := dialPlain(t, addr)
	refused := make(chan error)
	go func() { refused <- c.send("", -1, 1_000_000_000) }()
	if got := c.status(); got != 413 {
		t.Errorf("status %d", got)
	}
	if <-refused == nil {
		t.Error("a gigabyte was read")
	}
}

// An upload that is preempted in its middle gets its answer, although the client
// sends all of the rest before it reads.
func TestPreemptedUploadIsAnswered(t *testing.T) {
	const size, half = 900_000, 500_000
	for _, announced := range []int{size, -1} {
		h, addr, _ := newServer(t, func(h *Handler) {
			h.InFlightLimit = 4_000_000
			h.AdmitWait = caddy.Duration(100 * time.Millisecond)
		})
		stalled := dialPlain(t, addr)
		if err := stalled.begin("", announced, half); err != nil {
			t.Fatal(err)
		}
		waitFor(t, "half of the upload has arrived", func() bool { return h.queue.Used() > half })
		// The share of the only client has no room for another body of this size.
		other := strings.NewReader(chat(strings.Repeat("y", 1_400_000)))
		waitFor(t, "another upload is served in its place", func() bool {
			_, _ = other.Seek(0, io.SeekStart)
			resp, err := http.Post("http://"+addr+chatPath, "application/json", other)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			return resp.StatusCode == http.StatusOK
		})
		if err := stalled.rest(announced, size-half); err != nil {
			t.Errorf("announced %d: sending the rest: %v", announced, err)
		} else if got := stalled.status(); got != http.StatusInsufficientStorage {
			t.Errorf("announced %d: status %d", announced, got)
		}
	}
}

// Reading on ends when the client was silent for lingerPause, or when its time is
// over, however little it sends.
func TestLingerEnds(t *testing.T) {
	const total = 10 * time.Second
	for _, c := range []struct{ every, want time.Duration }{
		{0, lingerPause},
		{lingerPause + time.Second, lingerPause},
		{lingerPause / 2, total},
		{time.Millisecond, total},
	} {
		synctest.Test(t, func(t *testing.T) {
			client, server := net.Pipe()
			var sender sync.WaitGroup
			sender.Go(func() {
				for c.every > 0 {
					time.Sleep(c.every)
					if _, err := client.Write([]byte("x")); err != nil {
						return
					}
				}
			})
			begin := time.Now()
			discard(&pausing{src: server, control: server, until: begin.Add(total)})
			if took := time.Since(begin); took != c.want {
				t.Errorf("a byte every %v: ended after %v, want %v", c.every, took, c.want)
			}
			_ = server.Close()
			sender.Wait()
		})
	}
}

// A client that waits for status 100 gets the refusal instead, and nothing is
// read.
func TestExpectedContinue(t *testing.T) {
	h := newHandler(t, func(h *Handler) { h.MaxSize = 1_000_000 })
	r := newRequest("POST", chatPath, iotest.ErrReader(io.EOF))
	r.Body = io.NopCloser(readerFunc(func([]byte) (int, error) {
		t.Error("the body was read")
		return 0, io.EOF
	}))
	r.ContentLength = h.MaxSize + 1
	r.Header.Set("Expect", "100-continue")
	if w, e := serve(t, h, r); w.Code != http.StatusRequestEntityTooLarge || e.called {
		t.Errorf("status %d", w.Code)
	}
}
