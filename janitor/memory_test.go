// SPDX-License-Identifier: Apache-2.0

//go:build linux && !race

package janitor

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
	"unsafe"

	"github.com/bauxite/caddy-kvaware/internal/sensitive"
	"github.com/bauxite/caddy-kvaware/janitor/pii"
)

// valueMark is in each value that the test below plants. A constant is in
// read-only memory, which the test does not search.
const valueMark = "value.of.the.memory.test."

// markBytes returns valueMark as bytes, without a copy.
func markBytes() []byte { return unsafe.Slice(unsafe.StringData(valueMark), len(valueMark)) }

// valuePlaces are texts with values that take every way through the janitor:
// plain, escaped, across parts, in characters that fold, and in JSON in a string.
// %d makes the values differ.
var valuePlaces = []string{
	`{"model":"m","messages":[{"role":"user","content":"` + valueMark + `%d@nobody-at-all.com"}]}`,
	`{"model":"m","messages":[{"role":"user","content":"\u0041sk ` + valueMark + `%d\u0040nobody-at-all.com\n"}]}`,
	`{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"Ask ` + valueMark + `"},{"type":"text","text":"x%d@nobody-at-all.com"}]}]}`,
	`{"model":"m","messages":[{"role":"user","content":"Ask ` + valueMark + "%d\uff20nobody-at-all.com" + `"}]}`,
	`{"model":"m","messages":[{"role":"assistant","content":null,"tool_calls":[{"id":"c1","type":"function","function":{"name":"f","arguments":"{\"t\\u006f\":\"` +
		valueMark + `%d@nobody-at-all.com\"}"}}]},{"role":"tool","tool_call_id":"c1","content":"ok"}]}`,
	`{"model":"m","messages":[{"role":"user","content":"Mail ` + valueMark + `%d@nobody-at-all.com"},{"role":"user","content":"` + "card 4532015" + `112830366"}]}`,
}

// places is a body that is made of constants as it is read. Only the janitor puts
// it into writable memory.
type places struct {
	pieces []string
	cut    bool // end it early
}

func newPlaces(i, n int, padding string) *places {
	head, tail, _ := strings.Cut(valuePlaces[i%len(valuePlaces)], "%d")
	open, rest, _ := strings.Cut(head, valueMark)
	return &places{pieces: []string{open, padding, valueMark[:8], valueMark[8:], rest, fmt.Sprint(n), tail}}
}

// Read implements io.Reader.
func (p *places) Read(b []byte) (n int, err error) {
	for len(p.pieces) > 0 && len(p.pieces[0]) == 0 {
		p.pieces = p.pieces[1:]
	}
	if len(p.pieces) == 0 {
		return 0, io.EOF
	}
	if p.cut && len(p.pieces) == 1 {
		return 0, io.ErrUnexpectedEOF
	}
	n = copy(b, p.pieces[0])
	p.pieces[0] = p.pieces[0][n:]
	return n, nil
}

// forgetful is a client that counts the values it gets and keeps none.
type forgetful struct {
	header http.Header
	status int
	values int
}

func (f *forgetful) Header() http.Header { return f.header }
func (f *forgetful) WriteHeader(s int)   { f.status = s }
func (f *forgetful) Write(b []byte) (int, error) {
	f.values += bytes.Count(b, markBytes())
	return len(b), nil
}

// While a request is under way its values are only in arenas, and afterwards
// nowhere in the memory of the process, however the request ended: not in a
// string, an outgrown buffer or a stack. This test has no server, whose buffers
// are the only other place.
func TestValuesAreOnlyInWipedBuffers(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // garbage stays as it is
	watch := sensitive.Track()
	defer watch.Stop()
	var s searcher
	placed, answered := make(map[string]bool), 0
	for _, c := range []struct {
		name      string
		configure func(*Handler)
		cut       bool                                               // the client leaves in the middle
		answer    func(w http.ResponseWriter, r *http.Request) error // nil: the engine is not asked
		padding   []int                                              // in front of the value, in words
	}{
		{"numbered", func(*Handler) {}, false, echoText, []int{0, 1000, 10_000}},
		{"keyed", func(h *Handler) { h.keys = fixedKey{} }, false, echoText, []int{0}},
		{"redacted", func(h *Handler) { h.mode = modeRedact }, false, echoText, []int{0}},
		{"blocked", func(h *Handler) { h.mode = modeBlock }, false, nil, []int{0, 10_000}},
		{"client gone", func(*Handler) {}, true, nil, []int{0, 10_000}},
		{"too large", func(h *Handler) { h.MaxSize = 30_000 }, false, nil, []int{10_000}},
		{"no room", func(h *Handler) { h.InFlightLimit = 50_000; h.AdmitWait = 1 }, false, nil, []int{10_000}},
		{"panic", func(*Handler) {}, false, func(http.ResponseWriter, *http.Request) error { panic(http.ErrAbortHandler) }, []int{0}},
	} {
		h := newHandler(t)
		c.configure(h)
		for i := range len(c.padding) * len(valuePlaces) {
			if testing.Short() && i > 0 {
				break
			}
			body := newPlaces(i, i, strings.Repeat("x y ", c.padding[i/len(valuePlaces)]))
			body.cut = c.cut
			r := newRequest("POST", chatPath, body)
			r.ContentLength = -1
			client := &forgetful{header: make(http.Header)}
			e := &engine{answer: func(w http.ResponseWriter, r *http.Request) error {
				for _, hit := range s.search(t) {
					of, ok := belongs(watch.Buffers(), hit)
					if placed[of] = true; !ok {
						t.Errorf("%s, %d: a value is outside all arenas, at %#x", c.name, i, hit)
					}
				}
				return c.answer(w, r)
			}}
			err := func() (err error) {
				defer func() {
					if v := recover(); v != nil && v != http.ErrAbortHandler {
						panic(v)
					}
				}()
				return h.ServeHTTP(client, r, e)
			}()
			if err != nil {
				t.Fatal(err)
			}
			if e.called != (c.answer != nil) {
				t.Fatalf("%s, %d: status %d, engine asked: %t", c.name, i, client.status, e.called)
			}
			answered += client.values
			for _, hit := range s.search(t) {
				of, _ := belongs(watch.Buffers(), hit)
				t.Errorf("%s, %d: afterwards a value is in memory at %#x (arena: %q)", c.name, i, hit, of)
			}
			if t.Failed() {
				t.FailNow()
			}
		}
	}
	if !placed["vault"] || answered == 0 {
		t.Fatalf("found while requests were under way: %v; restored: %d: the test proves nothing", placed, answered)
	}
	t.Logf("under way, values were in %v; %d were restored", placed, answered)
}

type fixedKey struct{}

func (fixedKey) HashKey() []byte { return []byte("0123456789abcdef") }

// echoText answers with the placeholder.
func echoText(w http.ResponseWriter, _ *http.Request) error {
	w.Header().Set("Content-Type", "application/json")
	_, err := io.WriteString(w, `{"choices":[{"index":0,"message":{"role":"assistant","content":"to [`+string(pii.EntityEmail)+`_1]"},"finish_reason":"stop"}]}`)
	return err
}

// belongs returns the purpose of the arena that an address is in.
func belongs(all []sensitive.Buffer, at uintptr) (of string, ok bool) {
	for _, a := range all {
		if from := uintptr(unsafe.Pointer(unsafe.SliceData(a.Bytes))); at >= from && at < from+uintptr(len(a.Bytes)) {
			return a.Purpose, true
		}
	}
	return "", false
}

// searcher searches the memory of its own process.
type searcher struct{ buffer []byte }

// search returns the addresses of values in writable memory, without the
// searcher's own and the kernel's.
func (s *searcher) search(t *testing.T) (found []uintptr) {
	t.Helper()
	if s.buffer == nil {
		s.buffer = make([]byte, 1<<20)
	}
	defer clear(s.buffer)
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	memory, err := os.Open("/proc/self/mem")
	if err != nil {
		t.Fatal(err)
	}
	defer memory.Close()
	own := uintptr(unsafe.Pointer(&s.buffer[0]))
	for line := range strings.Lines(string(maps)) {
		var from, to uintptr
		var rights string
		if _, err := fmt.Sscanf(line, "%x-%x %s", &from, &to, &rights); err != nil || !strings.HasPrefix(rights, "rw") {
			continue
		}
		for at := from; at < to; at += uintptr(len(s.buffer) - len(valueMark)) {
			n, _ := memory.ReadAt(s.buffer[:min(len(s.buffer), int(to-at))], int64(at))
			for i := 0; i < n; {
				k := bytes.Index(s.buffer[i:n], markBytes())
				if k < 0 {
					break
				}
				if hit := at + uintptr(i+k); (hit < own || hit >= own+uintptr(len(s.buffer))) && !inSignalFrame(memory, hit) {
					found = append(found, hit)
				}
				i += k + len(valueMark)
			}
		}
	}
	runtime.KeepAlive(s)
	return found
}

// inSignalFrame reports whether hit is in the vector registers that the kernel
// saved for a signal: on a busy machine the runtime interrupts itself in the
// middle of a copy. On x86-64 they begin 160 bytes after a multiple of 64 and take
// 256 bytes; 464 bytes after it is FP_XSTATE_MAGIC1 (asm/sigcontext.h). The next
// signal overwrites them.
func inSignalFrame(memory io.ReaderAt, hit uintptr) bool {
	const registers, end, magicAt, magic = 160, 160 + 256, 464, 0x46505853
	for base := hit &^ 63; hit-base < end; base -= 64 {
		var b [4]byte
		if _, err := memory.ReadAt(b[:], int64(base+magicAt)); err == nil && hit-base >= registers && binary.LittleEndian.Uint32(b[:]) == magic {
			return true
		}
	}
	return false
}
