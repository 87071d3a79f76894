// SPDX-License-Identifier: Apache-2.0

package janitor

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
)

// plainClient is a client of the simplest kind: it sends a whole request and
// only then looks at what came back.
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
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	// Little must fit on the way, or everything would be sent whatever the server does.
	_ = c.(*net.TCPConn).SetWriteBuffer(16 << 10)
	return &plainClient{c, t}
}

// send sends a header and n bytes of body, in chunks if its length is not
// announced. It fails when the connection does not take them.
func (c *plainClient) send(header string, announced int, n int) error {
	length := fmt.Sprintf("Content-Length: %d", announced)
	if announced < 0 {
		length = "Transfer-Encoding: chunked"
	}
	if _, err := fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: x\r\n%s\r\n%s\r\n", chatPath, length, header); err != nil {
		return err
	}
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
	if announced < 0 {
		_, err := io.WriteString(c, "0\r\n\r\n")
		return err
	}
	return nil
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
		c.t.Error("the connection is to be used again")
	}
	return resp.StatusCode
}

// TestRefusalReachesWhoSendsFirst: a client that reads nothing before it has
// sent everything gets its answer, up to sizes well above the limit.
func TestRefusalReachesWhoSendsFirst(t *testing.T) {
	for _, max := range []int{1000, 2_000_000} {
		_, addr, _ := newServer(t, func(h *Handler) { h.MaxSize = int64(max) })
		for _, size := range []int{max + 1, max + 300_000, max + max*9/10} {
			for _, header := range []string{"", "Connection: close\r\n", "Content-Encoding: odd\r\n"} {
				for _, announced := range []int{size, -1} {
					c := dialPlain(t, addr)
					what := fmt.Sprintf("%d bytes of %d, announced %d, %q", size, max, announced, header)
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

// TestHugeUploadIsNotRead: what is far above the limit is refused without
// being read, and the client can still find out why.
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
			t.Error("a gigabyte was read for nothing")
		}
	}
}

// TestEndlessUploadEnds: chunks without end are read up to the bound only.
func TestEndlessUploadEnds(t *testing.T) {
	_, addr, _ := newServer(t, func(h *Handler) { h.MaxSize = 1_000_000 })
	c := dialPlain(t, addr)
	refused := make(chan error)
	go func() { refused <- c.send("", -1, 1_000_000_000) }()
	if got := c.status(); got != 413 {
		t.Errorf("status %d", got)
	}
	if <-refused == nil {
		t.Error("a gigabyte was read for nothing")
	}
}

// TestSlowLeftover: who sends the rest drop by drop, or not at all, is cut off
// when the time is over that the body had.
func TestSlowLeftover(t *testing.T) {
	_, addr, _ := newServer(t, func(h *Handler) {
		h.MaxSize = 1_000_000
		h.ReadTimeout = caddy.Duration(300 * time.Millisecond)
	})
	for _, drops := range []bool{true, false} {
		c := dialPlain(t, addr)
		if err := c.send("", 1_100_000, 1000); err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		if got := c.status(); got != 413 {
			t.Errorf("status %d", got)
		}
		if took := time.Since(begin); took > 10*time.Second {
			t.Errorf("the answer took %v", took)
		}
		for drops {
			if _, err := c.Write([]byte("x")); err != nil {
				break // as it should be
			}
			time.Sleep(10 * time.Millisecond)
		}
		if _, err := io.Copy(io.Discard, c); err != nil && drops == false {
			t.Errorf("the connection ended with %v", err)
		}
		if took := time.Since(begin); took > 10*time.Second {
			t.Errorf("drops %t: cut off after %v", drops, took)
		}
	}
}

// TestExpectedContinue: who waits for a word before it sends a body gets the
// refusal instead, and nobody waits for the body.
func TestExpectedContinue(t *testing.T) {
	_, addr, _ := newServer(t, func(h *Handler) { h.MaxSize = 1_000_000 })
	c := dialPlain(t, addr)
	begin := time.Now()
	if err := c.send("Expect: 100-continue\r\n", 1_000_001, 0); err != nil {
		t.Fatal(err)
	}
	if got := c.status(); got != 413 {
		t.Errorf("status %d", got)
	}
	_, _ = io.Copy(io.Discard, c)
	if took := time.Since(begin); took >= drainPause {
		t.Errorf("the connection ended after %v", took)
	}
}
