// SPDX-License-Identifier: Apache-2.0

package zmtp

import (
	"context"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// with changes one byte.
func with(b []byte, at int, value byte) []byte {
	b = slices.Clone(b)
	b[at] = value
	return b
}

func ready(properties ...string) []byte {
	body := []byte("\x05READY")
	for i := 0; i < len(properties); i += 2 {
		body = appendProperty(body, properties[i], properties[i+1])
	}
	return appendFrame(nil, flagCommand, body)
}

func many(n int) (properties []string) {
	for range n {
		properties = append(properties, "X-Some", "thing")
	}
	return append(properties, "Socket-Type", "PUB")
}

func TestHandshake(t *testing.T) {
	huge := "\x06\xff\xff\xff\xff\xff\xff\xff\xff"
	for _, c := range []struct {
		name   string
		socket Socket
		sent   []byte // by the peer, which then closes
		want   error
	}{
		{"PUB of 3.1", SUB, slices.Concat(greeting31, readyPUB), nil},
		{"PUB of 3.0", SUB, slices.Concat(greeting30, readyPUB), nil},
		{"XPUB", SUB, slices.Concat(greeting31, readyXPUB), nil},
		{"ROUTER", DEALER, slices.Concat(greeting31, readyROUTER), nil},
		{"a later version", SUB, slices.Concat(with(greeting31, 10, 4), readyPUB), nil},
		{"odd padding, server flag and filler", SUB, slices.Concat(with(with(with(greeting31, 8, 1), 32, 1), 63, 9), readyPUB), nil},
		{"type in small letters", SUB, slices.Concat(greeting31, ready("socket-type", "PUB", "X-A", "")), nil},
		{"long form of READY", SUB, slices.Concat(greeting31, []byte("\x06\x00\x00\x00\x00\x00\x00\x00\x19"), readyPUB[2:]), nil},
		{"many properties", SUB, slices.Concat(greeting31, ready(many(maxProperties-1)...)), nil},

		{"SUB to ROUTER", SUB, slices.Concat(greeting31, readyROUTER), ErrWrongPort},
		{"DEALER to PUB", DEALER, slices.Concat(greeting31, readyPUB), ErrWrongPort},
		{"closed at our READY", SUB, greeting31, ErrWrongPort},
		{"closed at our greeting", SUB, greeting31[:10], ErrGreeting},
		{"closed at once", SUB, nil, ErrGreeting},
		{"an answer of HTTP", SUB, []byte("HTTP/1.1 400 Bad Request\r\n\r\n"), ErrForeign},
		{"another signature", SUB, with(greeting31, 9, 0), ErrForeign},
		{"ZMTP 2", SUB, with(greeting31, 10, 1)[:14], ErrForeign},
		{"CURVE", SUB, slices.Concat(greeting31[:12], []byte("CURVE"), make([]byte, 47)), ErrSecurity},
		{"NULLS", SUB, with(greeting31, 16, 'S'), ErrSecurity},
		{"ERROR", SUB, slices.Concat(greeting31, []byte("\x04\x0a\x05ERROR\x03no!")), ErrRejected},
		{"a message first", SUB, slices.Concat(greeting31, []byte("\x00\x01a")), ErrMalformed},
		{"READY as a message", SUB, slices.Concat(greeting31, with(readyPUB, 0, 0)), ErrMalformed},
		{"READY by another name", SUB, slices.Concat(greeting31, with(readyPUB, 7, 'y')), ErrMalformed},
		{"another command first", SUB, slices.Concat(greeting31, pongEmpty), ErrMalformed},
		{"a command with more to come", SUB, slices.Concat(greeting31, with(readyPUB, 0, 5)), ErrMalformed},
		{"reserved flags", SUB, slices.Concat(greeting31, with(readyPUB, 0, 0x84)), ErrMalformed},
		{"an empty command", SUB, slices.Concat(greeting31, []byte("\x04\x00")), ErrMalformed},
		{"a command without a name", SUB, slices.Concat(greeting31, []byte("\x04\x01\x00")), ErrMalformed},
		{"a name that is too long", SUB, slices.Concat(greeting31, []byte("\x04\x02\x02R")), ErrMalformed},
		{"no type", SUB, slices.Concat(greeting31, ready("Identity", "PUB")), ErrMalformed},
		{"two types", SUB, slices.Concat(greeting31, ready("Socket-Type", "PUB", "SOCKET-TYPE", "PUB")), ErrMalformed},
		{"a property without a name", SUB, slices.Concat(greeting31, ready("", "PUB")), ErrMalformed},
		{"a property cut off", SUB, slices.Concat(greeting31, []byte("\x04\x0a\x05READY\x0bSoc")), ErrMalformed},
		{"a value cut off", SUB, slices.Concat(greeting31, []byte("\x04\x0d\x05READY\x01a\xff\xff\xff\xffb")), ErrMalformed},
		{"too many properties", SUB, slices.Concat(greeting31, ready(many(maxProperties)...)), ErrMalformed},
		{"a huge READY", SUB, slices.Concat(greeting31, []byte(huge)), ErrTooLarge},
		{"a large READY", SUB, slices.Concat(greeting31, ready("X-A", strings.Repeat("a", maxCommand))), ErrTooLarge},
	} {
		for _, chunk := range []int{1, 10, 4096} {
			conn := &scripted{in: c.sent, chunk: chunk}
			got, err := Handshake(context.Background(), conn, c.socket, Options{})
			if err != c.want || (got == nil) != (err != nil) {
				t.Errorf("%s, in chunks of %d: got %v, not %v", c.name, chunk, err, c.want)
				continue
			}
			if conn.closed != (err != nil) {
				t.Errorf("%s: closed is %v", c.name, conn.closed)
			}
			sent := slices.Concat(greeting30, readySUB)
			if c.socket == DEALER {
				sent = slices.Concat(greeting30, readyDEALER)
			}
			if err == nil && string(conn.out) != string(sent) {
				t.Errorf("%s: sent %x", c.name, conn.out)
			}
		}
	}
}

// TestFirstMessageBehindReady: a message in the same packet as READY is not lost.
func TestFirstMessageBehindReady(t *testing.T) {
	conn := &scripted{in: slices.Concat(greeting31, readyPUB, message("a", "b")), chunk: 4096}
	c, err := Handshake(context.Background(), conn, SUB, Options{})
	if err != nil {
		t.Fatal(err)
	}
	var m Message
	if err := c.Receive(&m); err != nil || !slices.Equal(texts(&m), []string{"a", "b"}) {
		t.Fatalf("got %q, %v", texts(&m), err)
	}
	if err := c.Receive(&m); err != ErrEnded {
		t.Fatal(err)
	}
}

// TestEndRightAfterTheHandshake: a peer that closes at once may have rejected our
// type; one that closes later has ended.
func TestEndRightAfterTheHandshake(t *testing.T) {
	for _, late := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			c, p := connected(t, SUB, Options{})
			want := ErrWrongPort
			if late {
				want = ErrEnded
			}
			go func() {
				if late {
					time.Sleep(mismatchWait)
				}
				p.Close()
			}()
			if err := c.Receive(new(Message)); err != want {
				t.Errorf("late is %v: got %v", late, err)
			}
		})
	}
}

// TestHandshakeTakesTooLong: a peer that sends too slowly is cut off like a silent
// one, wherever it stops.
func TestHandshakeTakesTooLong(t *testing.T) {
	for _, c := range []struct {
		name string
		drip []byte // one byte a second
	}{
		{"silent", nil},
		{"in the greeting", greeting31},
		{"in READY", slices.Concat(greeting31, readyPUB)},
	} {
		synctest.Test(t, func(t *testing.T) {
			ours, theirs := net.Pipe()
			defer theirs.Close()
			var dripping sync.WaitGroup
			dripping.Go(func() { _, _ = io.Copy(io.Discard, theirs) })
			dripping.Go(func() {
				at := 0
				if c.name == "in READY" {
					at = greetingSize
					theirs.Write(c.drip[:at])
				}
				for ; at < len(c.drip); at++ {
					if _, err := theirs.Write(c.drip[at : at+1]); err != nil {
						return
					}
					time.Sleep(time.Second)
				}
			})
			start := time.Now()
			_, err := Handshake(context.Background(), ours, SUB, Options{})
			if took := time.Since(start); err != ErrHandshakeTimeout || took != 5*time.Second {
				t.Errorf("%s: got %v after %v", c.name, err, took)
			}
			if _, err := theirs.Write([]byte{0}); err == nil {
				t.Errorf("%s: the connection is still open", c.name)
			}
			dripping.Wait()
		})
	}
}

// TestHandshakeAgainstAPeerThatDoesNotRead: the deadline ends writes too.
func TestHandshakeAgainstAPeerThatDoesNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		defer theirs.Close()
		if _, err := Handshake(context.Background(), ours, SUB, Options{}); err != ErrHandshakeTimeout {
			t.Error(err)
		}
	})
}

func TestHandshakeObeysItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, c := range []struct {
			ends func() (context.Context, context.CancelFunc)
			want error
		}{
			{func() (context.Context, context.CancelFunc) {
				ctx, cancel := context.WithCancel(context.Background())
				time.AfterFunc(time.Second, cancel)
				return ctx, cancel
			}, ErrClosed},
			{func() (context.Context, context.CancelFunc) {
				return context.WithTimeout(context.Background(), time.Second)
			}, ErrHandshakeTimeout},
		} {
			ours, theirs := net.Pipe()
			ctx, cancel := c.ends()
			start := time.Now()
			if _, err := Handshake(ctx, ours, SUB, Options{}); err != c.want || time.Since(start) != time.Second {
				t.Errorf("got %v after %v", err, time.Since(start))
			}
			cancel()
			theirs.Close()
		}
	})
}

// TestContextDoesNotOutliveTheHandshake: the end of the dial's context does not end
// the connection.
func TestContextDoesNotOutliveTheHandshake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		defer theirs.Close()
		p := &peer{theirs, t}
		go p.shake(greeting31, readyPUB)
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		c, err := Handshake(ctx, ours, SUB, Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		cancel()
		synctest.Wait()
		time.Sleep(6 * time.Second) // past the handshake's own deadline too
		p.send(message("still here"))
		var m Message
		if err := c.Receive(&m); err != nil {
			t.Fatal(err)
		}
	})
}

func TestDial(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		p := &peer{conn, t}
		p.shake(greeting31, readyPUB)
		p.send(message("hello"))
	}()
	c, err := Dial(context.Background(), address, SUB, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if got := c.RemoteAddr().String(); got != address {
		t.Errorf("the peer is at %s, not %s", got, address)
	}
	var m Message
	if err := c.Receive(&m); err != nil || string(m.Parts[0]) != "hello" {
		t.Errorf("got %q, %v", m.Parts, err)
	}

	listener.Close()
	if _, err := Dial(context.Background(), address, SUB, Options{}); err != ErrRefused {
		t.Errorf("without a listener: %v", err)
	}
	cancelled, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Dial(cancelled, address, SUB, Options{}); err != ErrClosed {
		t.Errorf("cancelled: %v", err)
	}
	if _, err := Dial(context.Background(), "no port", SUB, Options{}); err != ErrUnreachable {
		t.Errorf("no address: %v", err)
	}
}
