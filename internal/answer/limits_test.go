// SPDX-License-Identifier: Apache-2.0

package answer

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
)

// An event above the bound passes as it is, wherever it is cut. Text held back by a
// lane goes first, and the next event is read again.
func TestStreamLargeEvent(t *testing.T) {
	v := newVault("[EMAIL_1]", "ada@example.org")
	chunk := func(text string) string {
		return `data: {"choices":[{"index":0,"delta":{"content":"` + text + `"},"finish_reason":null}]}` + "\r\n\r\n"
	}
	held := `data: {"choices":[{"index":0,"delta":{"content":"[EM"},"logprobs":null,"finish_reason":null}]}` + "\r\n\r\n"
	frame := len(chunk("")) - 1 // the event ends before its last LF
	for _, more := range []int{0, 1, 100} {
		large := chunk("[EMAIL_1]" + strings.Repeat("x", MaxEvent-frame-9+more))
		in := chunk("[EM") + large + chunk("[EMAIL_1]")
		want := chunk("") + held + large + chunk("ada@example.org")
		if more == 0 {
			want = chunk("") + strings.Replace(large, "[EMAIL_1]", "[EMada@example.org", 1) + chunk("ada@example.org")
		}
		for _, size := range []int{len(in), 1 << 16, 1000, len(chunk("[EM")) + MaxEvent - 1} {
			var pieces [][]byte
			for rest := []byte(in); len(rest) > 0; {
				n := min(size, len(rest))
				pieces, rest = append(pieces, rest[:n]), rest[n:]
			}
			if got := string(through(t, v, nil, pieces...)); got != want {
				t.Errorf("%d bytes above the bound in pieces of %d: wrong answer of %d bytes, want %d", more, size, len(got), len(want))
			}
			if got := string(through(t, nil, &watcher{t: t}, pieces...)); got != in {
				t.Errorf("%d bytes above the bound in pieces of %d: not passed on as it is", more, size)
			}
		}
	}
}

// No stream makes the buffers grow without bound.
func TestStreamMemory(t *testing.T) {
	v := newVault("[SECRET_1]", strings.Repeat("s", 3000))
	s := NewStream(io.Discard, v, nil)
	write := func(text string) {
		t.Helper()
		if _, err := s.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 1000 { // lanes that all hold text back
		write(fmt.Sprintf("data: {\"choices\":[{\"index\":%d,\"text\":\"[SEC\",\"x\":%q}]}\n\n", i, strings.Repeat("p", maxTemplate/2)))
	}
	write("data: {\"choices\":[{\"index\":0,\"text\":\"" + strings.Repeat("[SECRET_1]", 50000) + "\"}]}\n\n")
	write("data: [" + strings.Repeat("\"[\",", 100000) + "0]\n\n")
	write("data: {\"a\":[" + strings.Repeat("\"[\",", 100000) + "0]}\n\n")
	write("data: {" + strings.Repeat("\"a\":0,", 100000) + "\"a\":0}\n\n")
	write("data: {\"choices\":[" + strings.Repeat(`{"finish_reason":"stop"},`, 40000) + "0]}\n\n")
	write("data: " + strings.Repeat("[", 4<<20))
	if len(s.lanes.slots) > maxLanes || cap(s.out.b) > sinkSize || cap(s.frames.buf) > 2*MaxEvent ||
		cap(s.event.parts) > 2*maxParts || cap(s.event.members) > 2*maxMembers ||
		cap(s.event.ends) > 2*maxEnds {
		t.Errorf("lanes %d, out %d, event %d, parts %d, members %d, ends %d", len(s.lanes.slots), cap(s.out.b), cap(s.frames.buf),
			cap(s.event.parts), cap(s.event.members), cap(s.event.ends))
	}
	size := 0
	for _, l := range s.lanes.slots {
		size += cap(l.event)
	}
	if size > maxLanes*2*maxTemplate {
		t.Errorf("%d bytes of templates", size)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// Events that cannot be read pass as they are. No text of a lane is lost or moved.
func TestStreamUnreadable(t *testing.T) {
	v := newVault("[EMAIL_1]", "ada@example.org")
	begin := "data: {\"choices\":[{\"index\":0,\"text\":\"[EMA\"}]}\n\n"
	end := "data: {\"choices\":[{\"index\":0,\"text\":\"IL_1]\"}]}\n\n"
	for _, odd := range []string{
		"\n", "\n\n\n", ": comment [EMAIL_1]\n\n", "event: ping [EMAIL_1]\n\n", "retry: 10\nid: [EMAIL_1]\n\n",
		"data\n\n", "data:\n\n", "data: \n\n", "data: [EMAIL_1]\n\n", "data: {\"a\":\"[EMAIL_1]\"\n\n",
		"data: {\"a\":\"[EMAIL_1]\"} x\n\n", "data: [\"[EMAIL_1]\"]\n\n", "data: {\"a\":\"[EMAIL_1]\",}\n\n",
		"data: {\"a\":\"[EMAIL\ndata: _1]\"}\n\n", "data: {\"a\":\"\\x [EMAIL_1]\"}\n\n", "datax: {\"a\":\"[EMAIL_1]\"}\n\n",
		"data: {\"choices\":[],\"a\":\"[EMAIL_1]\",\"choices\":[]}\n\n",
		"data: {\"type\":\"x\",\"a\":\"[EMAIL_1]\",\"type\":\"y\"}\n\n",
		"data: {\"a\":" + strings.Repeat("[", maxDepth) + "\"[EMAIL_1]\"" + strings.Repeat("]", maxDepth) + "}\n\n",
	} {
		want := "data: {\"choices\":[{\"index\":0,\"text\":\"\"}]}\n\n" + odd +
			"data: {\"choices\":[{\"index\":0,\"text\":\"ada@example.org\"}]}\n\n"
		if got := string(through(t, v, nil, []byte(begin+odd+end))); got != want {
			t.Errorf("%.60q gives\n%.300q want\n%.300q", odd, got, want)
		}
	}
}

// Odd events that engines do send are restored.
func TestStreamOddButRead(t *testing.T) {
	v := newVault("[EMAIL_1]", "ada@example.org", "[EMAIL_2]", `q"q`)
	for _, c := range [][2]string{
		{"\xEF\xBB\xBFdata: {\"a\":\"[EMAIL_1]\"}\n\n", "\xEF\xBB\xBFdata: {\"a\":\"ada@example.org\"}\n\n"},
		{"data: {\"a\":NaN,\"b\":-Infinity,\"c\":\"\xff[EMAIL_1]\"}\n\n", "data: {\"a\":NaN,\"b\":-Infinity,\"c\":\"\xffada@example.org\"}\n\n"},
		{"data:{\"choices\":[{\"delta\":{\"content\":[{\"type\":\"text\",\"text\":\"[EMAIL_1]\"}],\"x\":null}}]}\n\n",
			"data:{\"choices\":[{\"delta\":{\"content\":[{\"type\":\"text\",\"text\":\"ada@example.org\"}],\"x\":null}}]}\n\n"},
		{"data: {\"choices\":[{\"message\":{\"tool_calls\":[{\"id\":\"[EMAIL_1]\",\"function\":{\"arguments\":\"[EMAIL_2]\"}}]},\"logprobs\":{\"content\":[{\"token\":\"[EMAIL_1]\"}]}}]}\n\n",
			"data: {\"choices\":[{\"message\":{\"tool_calls\":[{\"id\":\"[EMAIL_1]\",\"function\":{\"arguments\":\"q\\\\\\\"q\"}}]},\"logprobs\":{\"content\":[{\"token\":\"[EMAIL_1]\"}]}}]}\n\n"},
		{"data: {\"choices\":\"[EMAIL_1]\"}\n\n", "data: {\"choices\":\"ada@example.org\"}\n\n"},
		{"data: {\"choices\":[\"[EMAIL_1]\",{\"delta\":\"[EMAIL_1]\"},{\"delta\":{\"tool_calls\":\"[EMAIL_1]\",\"function_call\":\"[EMAIL_1]\"}}]}\n\n",
			"data: {\"choices\":[\"ada@example.org\",{\"delta\":\"ada@example.org\"},{\"delta\":{\"tool_calls\":\"ada@example.org\",\"function_call\":\"ada@example.org\"}}]}\n\n"},
		{"data: {\"type\":\"content_block_delta\",\"delta\":\"[EMAIL_1]\"}\n\n", "data: {\"type\":\"content_block_delta\",\"delta\":\"ada@example.org\"}\n\n"},
		{"data: {\"type\":\"content_block_delta\",\"delta\":{\"type\":\"citations_delta\",\"citation\":{\"cited_text\":\"[EMAIL_1]\"}}}\n\n",
			"data: {\"type\":\"content_block_delta\",\"delta\":{\"type\":\"citations_delta\",\"citation\":{\"cited_text\":\"ada@example.org\"}}}\n\n"},
		{"data: {\"type\":\"response.completed\",\"response\":{\"id\":\"[EMAIL_1]\",\"instructions\":\"[EMAIL_1]\",\"tools\":[{\"type\":\"function\",\"parameters\":{\"type\":\"[EMAIL_1]\"}}],\"output\":[{\"type\":\"function_call\",\"arguments\":\"{\\\"a\\\":\\\"[EMAIL_2]\\\"}\"}]}}\n\n",
			"data: {\"type\":\"response.completed\",\"response\":{\"id\":\"[EMAIL_1]\",\"instructions\":\"ada@example.org\",\"tools\":[{\"type\":\"function\",\"parameters\":{\"type\":\"ada@example.org\"}}],\"output\":[{\"type\":\"function_call\",\"arguments\":\"{\\\"a\\\":\\\"q\\\\\\\"q\\\"}\"}]}}\n\n"},
		{"data: {\"type\":\"response.function_call_arguments.done\",\"arguments\":\"{\\\"a\\\":\\\"[EMAIL_2]\\\"}\"}\n\n",
			"data: {\"type\":\"response.function_call_arguments.done\",\"arguments\":\"{\\\"a\\\":\\\"q\\\\\\\"q\\\"}\"}\n\n"},
		{"data: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"[EMAIL_1]\"}}\n\n",
			"data: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"ada@example.org\"}}\n\n"},
		{"data: {\"error\":{\"message\":\"no [EMAIL_1]\",\"type\":\"[EMAIL_1]\"}}\n\n", "data: {\"error\":{\"message\":\"no ada@example.org\",\"type\":\"[EMAIL_1]\"}}\n\n"},
	} {
		if got := string(through(t, v, nil, []byte(c[0]))); got != c[1] {
			t.Errorf("got\n%s\nwant\n%s", got, c[1])
		}
		if got := string(through(t, nil, nil, []byte(c[0]))); got != c[0] {
			t.Errorf("without placeholders %q became %q", c[0], got)
		}
	}
}

// HideUsage removes only the event with usage and no choices.
func TestHideUsage(t *testing.T) {
	events := []string{
		`{"choices":[{"index":0,"delta":{"content":"[EMAIL_1]"}}],"usage":null}`,
		`{"choices":[],"prompt_filter_results":[]}`,
		`{"choices":[],"usage":null}`,
		`{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":{"prompt_tokens":3}}`,
		`{"choices":[],"usage":{"prompt_tokens":3}}`,
		`[DONE]`,
	}
	for _, p := range []Placeholders{nil, newVault("[EMAIL_1]", "x")} {
		want := string(sse(append(append([]string{}, events[:4]...), events[5])...))
		if p != nil {
			want = strings.Replace(want, "[EMAIL_1]", "x", 1)
		}
		var out bytes.Buffer
		w := &watcher{t: t}
		s := NewStream(&out, p, w)
		s.HideUsage()
		for _, piece := range bytewise(sse(events...)) {
			if _, err := s.Write(piece); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if out.String() != want {
			t.Errorf("got\n%s\nwant\n%s", out.String(), want)
		}
		w.check(t, 1, &Usage{PromptTokens: 3}, false)
	}
}

// failing is a client that leaves after some bytes.
type failing struct{ left int }

var errGone = errors.New("gone")

func (f *failing) Write(p []byte) (int, error) {
	if f.left -= len(p); f.left < 0 {
		return 0, errGone
	}
	return len(p), nil
}

type short struct{}

func (short) Write(p []byte) (int, error) { return len(p) - 1, nil }

// Write and Close return the writer's first error, and the observer gets its reports
// all the same.
func TestWriteErrors(t *testing.T) {
	v := newVault("[EMAIL_1]", "x")
	for _, p := range []Placeholders{nil, v} {
		for name, newWriter := range map[string]func(io.Writer, Observer) io.WriteCloser{
			"stream": func(w io.Writer, o Observer) io.WriteCloser { return NewStream(w, p, o) },
			"body":   func(w io.Writer, o Observer) io.WriteCloser { return NewBody(w, p, o) },
		} {
			w := &watcher{t: t}
			a := newWriter(&failing{left: 10}, w)
			if n, err := a.Write([]byte("[\n")); n != 2 || err != nil {
				t.Errorf("%s: %d, %v", name, n, err)
			}
			for range 2 {
				if n, err := a.Write([]byte("data: {\"choices\":[]}\n\n")); n != 0 || err != errGone {
					t.Errorf("%s: %d, %v", name, n, err)
				}
			}
			if err := a.Close(); err != errGone {
				t.Errorf("%s: Close: %v", name, err)
			}
			if err := a.Close(); err != errGone {
				t.Errorf("%s: second Close: %v", name, err)
			}
			if _, err := a.Write([]byte("x")); err != ErrClosed {
				t.Errorf("%s: Write after Close: %v", name, err)
			}
			if _, err := newWriter(short{}, nil).Write([]byte("data: {}\n\n")); err != io.ErrShortWrite {
				t.Errorf("%s: short write: %v", name, err)
			}
		}
	}
}

// After Close no buffer has a value, nor has one that was outgrown.
func TestWiped(t *testing.T) {
	secret := strings.Repeat("s3cret", 30)
	v := newVault("[SECRET_1]", secret)
	var seen [][]byte // every buffer that was passed to Write
	w := writerFunc(func(p []byte) { seen = append(seen, p[:cap(p)]) })
	s := NewStream(w, v, nil)
	for n := 1; n < 700; n += 50 {
		if _, err := s.Write(sse(`{"choices":[{"index":0,"text":"` + strings.Repeat("[SECRET_1] ", n) + `[SEC"}]}`)); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	b := NewBody(w, v, nil)
	for range 3 {
		if _, err := b.Write([]byte(`["` + strings.Repeat("[SECRET_1] ", 600) + `"]`)); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if len(seen) < 10 {
		t.Fatalf("only %d writes", len(seen))
	}
	for i, p := range seen {
		if bytes.Contains(p, []byte("s3cret")) {
			t.Fatalf("write %d: its buffer of %d bytes still has the value", i, len(p))
		}
	}
}

type writerFunc func([]byte)

func (f writerFunc) Write(p []byte) (int, error) { f(p); return len(p), nil }

func TestNew(t *testing.T) {
	for kind, want := range map[string]string{
		"text/event-stream": "*answer.Stream", "Text/Event-Stream; charset=utf-8": "*answer.Stream",
		"application/json": "*answer.Body", "application/problem+json;charset": "*answer.Body",
		"application/json; charset=\"": "*answer.Body", "application/x-ndjson": "*answer.Body",
		"text/plain": "<nil>", "": "<nil>", ";": "<nil>", "audio/mpeg": "<nil>",
	} {
		a, ok := New(io.Discard, kind, nil, nil)
		if got := fmt.Sprintf("%T", a); got != want || ok != (want != "<nil>") {
			t.Errorf("%q: %s, %v, want %s", kind, got, ok, want)
		}
	}
}
