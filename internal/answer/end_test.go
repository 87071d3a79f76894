// SPDX-License-Identifier: Apache-2.0

package answer

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/bauxite/caddy-kvaware/internal/prompt"
)

// expecting writes a stream to one with ExpectEnd, and returns the output and the
// error of Close.
func expecting(t testing.TB, p Placeholders, wire []byte) ([]byte, error) {
	t.Helper()
	var out bytes.Buffer
	s := NewStream(&out, p, nil)
	s.ExpectEnd()
	if _, err := s.Write(wire); err != nil {
		t.Fatal(err)
	}
	err := s.Close()
	if again := s.Close(); again != err {
		t.Errorf("Close returned %v, then %v", err, again)
	}
	return out.Bytes(), err
}

// Wherever a stream is cut, the client gets whole events only, all text of the
// whole events, and Close tells whether the last one has come.
func TestStreamCut(t *testing.T) {
	for _, d := range dialects {
		for n, s := range spellings {
			t.Run(fmt.Sprintf("%s/%d", d.name, n), func(t *testing.T) {
				t.Parallel()
				v, d := awkward(), d
				rng := rand.New(rand.NewPCG(5, uint64(n)))
				d.begin = nil
				lanes := d.lanes(func(bool) string { return "[NAME_1][EM" })
				lanes = lanes[:min(2, len(lanes))]
				wire := transcribe(rng, &d, s, lanes).wire
				for cut := range len(wire) + 1 {
					if testing.Short() && cut%5 > 0 {
						continue
					}
					checkCut(t, &d, v, lanes, wire, wire[:cut])
				}
			})
		}
	}
}

// checkCut compares what an independent client reads of the beginning of a stream
// before and behind a Stream.
func checkCut(t *testing.T, d *dialect, v *vault, lanes []laneText, wire, begin []byte) {
	t.Helper()
	total := len(client(wire))
	seen := append(bytes.Clone(begin), "an unfinished line"...)
	sent := client(seen)
	out, err := expecting(t, nil, begin)
	if err == nil {
		if got := client(append(bytes.Clone(begin), "\n\n"...)); len(got) != total {
			t.Fatalf("%q was not found to be cut", begin)
		}
		if !bytes.Equal(out, begin) {
			t.Fatalf("%q came out as\n%q", begin, out)
		}
		return
	}
	if !errors.Is(err, ErrCut) || len(sent) == total {
		t.Fatalf("%q: %v", begin, err)
	}
	// One more blank line would make an event of what is unfinished.
	if got := client(append(out, "\n\n"...)); !slices.Equal(got, sent) {
		t.Fatalf("%q came out as\n%q", begin, out)
	}
	restored, _ := expecting(t, v, begin)
	before, got := readLanes(t, d, seen), readLanes(t, d, restored)
	for _, lane := range lanes {
		if want := v.replace(before[lane.id], lane.nested); got[lane.id] != want {
			t.Fatalf("lane %s: got %q, want %q", lane.id, got[lane.id], want)
		}
	}
}

// The events that end an answer, and those that do not.
func TestEnds(t *testing.T) {
	token := `{"choices":[{"index":0,"delta":{"content":"x"}}]}`
	large := `{"type":"response.completed","response":{"instructions":"` + strings.Repeat("x", MaxEvent) + `"}}`
	for _, c := range []struct {
		wire  string
		whole bool
	}{
		{string(sse(token, `[DONE]`)), true},
		{string(sse(token)) + "data: [DONE]", true},
		{string(sse(token)) + "data:[DONE]\n", true},
		{string(sse(token, `{"error":{"message":"out of memory"}}`)), true},
		{string(sse(token, `{"error":"out of memory"}`)), true},
		{string(sse(token, `{"object":"error","message":"out of memory","code":500}`)), true},
		{string(sse(token, `{"choices":[{"index":0,"delta":{},"finish_reason":"error"}],"error":{"code":502}}`)), true},
		{string(sse(`{"type":"message_stop"}`)), true},
		{string(sse(`{"type":"error","error":{"type":"overloaded_error","message":"later"}}`)), true},
		{string(sse(`{"type":"response.completed","response":{}}`)), true},
		{string(sse(`{"type":"response.incomplete","response":{}}`)), true},
		{string(sse(`{"type":"response.failed","response":{}}`)), true},
		{string(sse(`{"type":"error","sequence_number":3,"code":"x","message":"out of memory"}`)), true},
		{string(sse(`{"content":"x","stop":false}`, `{"content":"","stop":true}`)), true},
		{string(sse(token, large)) + ": comment\n\n", true},
		{string(sse(token, `[DONE]`)) + "data: {", true},

		{"", false},
		{": comment\n\n", false},
		{string(sse(token)), false},
		{string(sse(token, `{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}`)), false},
		{string(sse(token)) + "data: [DON", false},
		{string(sse(`{"type":"message_delta","delta":{"stop_reason":"end_turn"}}`)), false},
		{string(sse(`{"type":"response.output_text.delta","delta":"x","error":null}`)), false},
		{string(sse(`{"choices":[],"error":null}`)), false},
		{string(sse(large, token)), false},
		{string(sse(token, large))[:MaxEvent+20], false},
	} {
		out, err := expecting(t, nil, []byte(c.wire))
		if c.whole && err != nil || !c.whole && !errors.Is(err, ErrCut) {
			t.Errorf("%.300q: %v", c.wire, err)
		}
		if err == nil && string(out) != c.wire {
			t.Errorf("%.300q came out as %.300q", c.wire, out)
		}
		if err != nil && len(out) > 0 && !bytes.HasSuffix(out, []byte("\n\n")) {
			t.Errorf("%.300q: no event can follow", c.wire)
		}
	}
}

// An error of the engine in a stream is told from the end of a whole answer, and from an
// error for which the request is at fault.
func TestFailed(t *testing.T) {
	token := `{"choices":[{"index":0,"delta":{"content":"x"}}]}`
	for _, c := range []struct {
		events []string
		want   bool
	}{
		{[]string{token, `{"error":{"message":"out of memory"}}`, `[DONE]`}, true},
		{[]string{`{"error":"out of memory"}`}, true},
		{[]string{token, `{"object":"error","message":"out of memory","code":500}`}, true},
		{[]string{`{"type":"error","error":{"type":"overloaded_error","message":"later"}}`}, true},
		{[]string{`{"type":"response.failed","response":{}}`}, true},
		{[]string{`{"error":{"message":"gone","type":"InternalServerError","param":null,"code":500}}`}, true},
		{[]string{token, `{"error":{"message":"too long","type":"BadRequestError","param":null,"code":400}}`, `[DONE]`}, false},
		{[]string{token, `{"object":"error","message":"too long","type":"BadRequestError","code":400}`}, false},
		{[]string{`{"type":"error","error":{"type":"invalid_request_error","message":"no"}}`}, false},
		{[]string{`{"error":{"message":"busy","code":"4xx"}}`}, true},
		{[]string{token, `[DONE]`}, false},
		{[]string{token, `{"choices":[],"error":null}`, `[DONE]`}, false},
		{[]string{`{"type":"message_stop"}`}, false},
		{[]string{`{"type":"response.completed","response":{}}`}, false},
		{[]string{token}, false},
	} {
		s := NewStream(io.Discard, nil, nil)
		if _, err := s.Write(sse(c.events...)); err != nil {
			t.Fatal(err)
		}
		if got := s.Failed(); got != c.want {
			t.Errorf("%q: %t", c.events, got)
		}
	}
}

// Without ExpectEnd the unfinished event passes as it is.
func TestEndNotExpected(t *testing.T) {
	wire := "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"x"
	if got := string(through(t, nil, nil, []byte(wire))); got != wire {
		t.Errorf("got %q", got)
	}
}

// An error of the writer is not taken for a cut.
func TestWriteErrorIsNoCut(t *testing.T) {
	s := NewStream(&failing{}, nil, nil)
	s.ExpectEnd()
	_, _ = io.WriteString(s, "data: {}\n\n")
	if err := s.Close(); !errors.Is(err, errGone) {
		t.Errorf("Close: %v", err)
	}
}

func TestNextNumber(t *testing.T) {
	for wire, want := range map[string]int{
		"": 0,
		string(sse(`{"type":"response.created","sequence_number":0}`)):                                              1,
		string(sse(`{"type":"response.created","sequence_number":0}`, `{"type":"response.x","sequence_number":7}`)): 8,
		string(sse(`{"choices":[],"sequence_number":7}`)):                                                           0,
	} {
		s := NewStream(io.Discard, nil, nil)
		if _, err := io.WriteString(s, wire); err != nil {
			t.Fatal(err)
		}
		if got := s.NextNumber(); got != want {
			t.Errorf("%q: %d, want %d", wire, got, want)
		}
	}
}

// The APIs whose prompts have a prefix to share are those that generate text.
func TestHasEnd(t *testing.T) {
	for api := range prompt.NumAPIs {
		if HasEnd(api) != api.Signable() {
			t.Errorf("%v: %t", api, HasEnd(api))
		}
	}
}
