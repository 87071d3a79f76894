// SPDX-License-Identifier: Apache-2.0

package answer

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
)

// through writes a stream to a Stream in pieces and returns the output.
func through(t testing.TB, p Placeholders, o Observer, pieces ...[]byte) []byte {
	t.Helper()
	var out bytes.Buffer
	s := NewStream(&out, p, o)
	for _, piece := range pieces {
		// The writer owns its buffer again after Write: overwrite it.
		own := bytes.Clone(piece)
		if n, err := s.Write(own); n != len(piece) || err != nil {
			t.Fatalf("Write: %d, %v", n, err)
		}
		clear(own)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func bytewise(wire []byte) [][]byte {
	var pieces [][]byte
	for i := range wire {
		pieces = append(pieces, wire[i:i+1])
	}
	return pieces
}

// A client reads the texts with their placeholders replaced, for random texts in all
// dialects and spellings, in one piece and byte by byte.
func TestStreamGolden(t *testing.T) {
	for _, d := range dialects {
		for n, s := range spellings {
			t.Run(fmt.Sprintf("%s/%d", d.name, n), func(t *testing.T) {
				t.Parallel()
				v := awkward()
				for seed := range seeds(25) {
					rng := rand.New(rand.NewPCG(seed, uint64(n)))
					lanes := d.lanes(func(nested bool) string { return randomText(rng, nested) })
					script := transcribe(rng, &d, s, lanes)
					out := through(t, v, nil, script.wire)
					checkLanes(t, &d, v, lanes, out)
					if other := through(t, v, nil, bytewise(script.wire)...); !bytes.Equal(out, other) {
						t.Fatalf("seed %d: byte by byte gives another answer\n%q\n%q", seed, out, other)
					}
					if t.Failed() {
						t.Fatalf("seed %d\nin:  %q\nout: %q", seed, script.wire, out)
					}
				}
			})
		}
	}
}

func checkLanes(t *testing.T, d *dialect, v *vault, lanes []laneText, out []byte) {
	t.Helper()
	got := readLanes(t, d, out)
	for _, lane := range lanes {
		want := v.replace(lane.text, lane.nested)
		if got[lane.id] != want {
			t.Errorf("lane %s\n got %q\nwant %q\nfrom %q", lane.id, got[lane.id], want, lane.text)
		}
		if lane.nested && json.Valid([]byte(lane.text)) && !json.Valid([]byte(got[lane.id])) {
			t.Errorf("lane %s does not parse any more: %q", lane.id, got[lane.id])
		}
	}
	for id, name := range got {
		if (id == "0/name/0" && name != "send") || (id == "0/name/1" && name != "call") {
			t.Errorf("%s has the name %q", id, name)
		}
	}
}

// Cutting a stream at any byte does not change the output.
func TestStreamEverySplit(t *testing.T) {
	for _, d := range dialects {
		for n, s := range spellings {
			t.Run(fmt.Sprintf("%s/%d", d.name, n), func(t *testing.T) {
				t.Parallel()
				v, d := awkward(), d
				rng := rand.New(rand.NewPCG(99, uint64(n)))
				d.begin = nil // for a shorter stream
				lanes := d.lanes(func(bool) string { return "[NAME_1][EMAIL_10][EM" })
				rng.Shuffle(len(lanes), func(i, j int) { lanes[i], lanes[j] = lanes[j], lanes[i] })
				lanes = lanes[:min(2, len(lanes))]
				wire := transcribe(rng, &d, s, lanes).wire
				checkLanes(t, &d, v, lanes, through(t, v, nil, wire))
				want := through(t, v, nil, wire)
				for i := range wire {
					if testing.Short() && i%5 > 0 {
						continue
					}
					if got := through(t, v, nil, wire[:i], wire[i:]); !bytes.Equal(got, want) {
						t.Fatalf("cut at %d gives another answer", i)
					}
				}
			})
		}
	}
}

// After every event the client has all text that cannot become a placeholder.
func TestStreamHoldsNothingElse(t *testing.T) {
	for _, d := range dialects {
		t.Run(d.name, func(t *testing.T) {
			t.Parallel()
			v := awkward()
			for seed := range seeds(20) {
				rng := rand.New(rand.NewPCG(seed, 7))
				lanes := d.lanes(func(nested bool) string { return randomText(rng, nested) })
				script := transcribe(rng, &d, spellings[0], lanes)
				var out bytes.Buffer
				s := NewStream(&out, v, nil)
				sent, got := map[string]string{}, map[string]string{}
				from := 0
				for _, cut := range script.cuts {
					if _, err := s.Write(script.wire[from:cut]); err != nil {
						t.Fatal(err)
					}
					addLanes(t, &d, script.wire[from:cut], sent)
					addLanes(t, &d, out.Next(out.Len()), got)
					from = cut
					for _, lane := range lanes {
						least := v.replace(v.settled(sent[lane.id]), lane.nested)
						most := v.replace(sent[lane.id], lane.nested)
						if got[lane.id] != least && got[lane.id] != most {
							t.Fatalf("lane %s after %d bytes: %q, want %q or %q", lane.id, cut, got[lane.id], least, most)
						}
					}
				}
			}
		})
	}
}

// A text that ends with the beginning of a placeholder is complete before the event
// that ends it.
func TestStreamTailBeforeEnd(t *testing.T) {
	v := newVault("[EMAIL_1]", "ada@example.org")
	for _, d := range dialects {
		for end := range 3 {
			t.Run(fmt.Sprintf("%s/%d", d.name, end), func(t *testing.T) {
				rng := rand.New(rand.NewPCG(1, 2))
				lanes := d.lanes(func(nested bool) string { return "to [EMAIL_1] or [EMAIL_" })
				script := transcribe(rng, &d, spellings[0], lanes)
				wire := script.wire
				switch end {
				case 1: // the stream breaks off after an event
					wire = wire[:script.cuts[len(script.cuts)-1-len(d.end)]]
				case 2: // or within one
					wire = wire[:script.cuts[len(script.cuts)-1-len(d.end)]+9]
				}
				out := through(t, v, nil, wire)
				if end < 2 {
					checkLanes(t, &d, v, lanes, out)
				} else if !bytes.HasSuffix(out, wire[len(wire)-9:]) {
					t.Errorf("the last bytes are missing: %q", out[len(out)-40:])
				}
				last := client(wire)
				if got := client(out); end == 0 && d.name != "llama.cpp" && // its last event has text
					got[len(got)-1] != last[len(last)-1] {
					t.Errorf("the last event is %q, want %q", got[len(got)-1], last[len(last)-1])
				}
			})
		}
	}
}

// Text held back at the end of a lane comes in an event of its own.
func TestStreamTemplate(t *testing.T) {
	v := newVault("[EMAIL_1]", "ada@example.org")
	for _, c := range []struct{ name, in, want string }{
		{
			"chat with a tool's name and usage",
			"id: 4\ndata: {\"id\":\"c\",\"choices\":[{\"index\":1,\"delta\":{\"role\":\"assistant\",\"tool_calls\":[{\"index\":2,\"id\":\"t\",\"function\":{\"name\":\"f\",\"arguments\":\"x[E\"}}]}}],\"usage\":{\"prompt_tokens\":1},\"created\":3}\n\ndata: [DONE]\n\n",
			"id: 4\ndata: {\"id\":\"c\",\"choices\":[{\"index\":1,\"delta\":{\"role\":\"assistant\",\"tool_calls\":[{\"index\":2,\"id\":\"t\",\"function\":{\"name\":\"f\",\"arguments\":\"x\"}}]}}],\"usage\":{\"prompt_tokens\":1},\"created\":3}\n\n" +
				"id: 4\ndata: {\"id\":\"c\",\"choices\":[{\"index\":1,\"delta\":{\"tool_calls\":[{\"index\":2,\"function\":{\"arguments\":\"[E\"}}]},\"logprobs\":null,\"finish_reason\":null}],\"usage\":null,\"created\":3}\n\n" +
				"data: [DONE]\n\n",
		},
		{
			"responses in CRLF on several lines",
			"event: response.output_text.delta\r\ndata: {\"type\":\"response.output_text.delta\",\r\ndata: \"output_index\":0,\"delta\":\"a[EMAIL_1\",\"logprobs\":[1]}\r\n\r\nevent: response.output_text.done\r\ndata: {\"type\":\"response.output_text.done\",\"output_index\":0,\"text\":\"a[EMAIL_1\"}\r\n\r\n",
			"event: response.output_text.delta\r\ndata: {\"type\":\"response.output_text.delta\",\r\ndata: \"output_index\":0,\"delta\":\"a\",\"logprobs\":[1]}\r\n\r\n" +
				"event: response.output_text.delta\r\ndata: {\"type\":\"response.output_text.delta\",        \"output_index\":0,\"delta\":\"[EMAIL_1\",\"logprobs\":[]}\r\n\r\n" +
				"event: response.output_text.done\r\ndata: {\"type\":\"response.output_text.done\",\"output_index\":0,\"text\":\"a[EMAIL_1\"}\r\n\r\n",
		},
		{
			"the end has text of the lane",
			"data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"[EMAIL\"}}]}\n\ndata: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"_1\"},\"finish_reason\":\"length\"}]}\n\n",
			"data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"\"}}]}\n\ndata: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"[EMAIL_1\"},\"finish_reason\":\"length\"}]}\n\n",
		},
		{
			"another choice ends",
			"data: {\"choices\":[{\"index\":0,\"text\":\"[EMAIL\"}]}\n\ndata: {\"choices\":[{\"index\":1,\"text\":\"\",\"finish_reason\":\"stop\"}]}\n\ndata: {\"choices\":[{\"index\":0,\"text\":\"_1]\"}]}\n\n",
			"data: {\"choices\":[{\"index\":0,\"text\":\"\"}]}\n\ndata: {\"choices\":[{\"index\":1,\"text\":\"\",\"finish_reason\":\"stop\"}]}\n\ndata: {\"choices\":[{\"index\":0,\"text\":\"ada@example.org\"}]}\n\n",
		},
		{
			"the stream ends without a blank line",
			"data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"[EMAIL\"}}]}\n\ndata: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"_1] and [E\"}}]}\n",
			"data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"\"}}]}\n\ndata: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"ada@example.org and [E\"}}]}\n",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := string(through(t, v, nil, []byte(c.in))); got != c.want {
				t.Errorf("got\n%s\nwant\n%s", got, c.want)
			}
			if got := string(through(t, v, nil, bytewise([]byte(c.in))...)); got != c.want {
				t.Errorf("byte by byte: got\n%s\nwant\n%s", got, c.want)
			}
		})
	}
}

// MemorySize is large only while a large event arrives.
func TestMemorySize(t *testing.T) {
	for _, lines := range []int{1, 2} {
		s := NewStream(io.Discard, newVault("[EMAIL_1]", "a@b.example"), nil)
		write := func(p string) {
			if _, err := io.WriteString(s, p); err != nil {
				t.Fatal(err)
			}
		}
		small := "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hi\"}}]}\n\n"
		write(small)
		if n := s.MemorySize(); n > 4096 {
			t.Errorf("%d bytes for small events", n)
		}
		write("data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"")
		for range 500 {
			write(strings.Repeat("x", 1000))
		}
		if n := s.MemorySize(); n < 500_000 || n > 1_500_000 {
			t.Errorf("%d bytes while half a megabyte is buffered", n)
		}
		write("\"}}]" + strings.Repeat("\ndata: ", lines-1) + "}\n\n")
		write(small)
		write(small)
		if n := s.MemorySize(); n > 4*sinkSize {
			t.Errorf("%d bytes when it has passed", n)
		}
	}
}
