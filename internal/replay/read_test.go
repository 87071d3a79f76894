// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

func mustRead(t *testing.T, text string, o ReadOptions) *Trace {
	t.Helper()
	trace, err := Read(strings.NewReader(text), o)
	if err != nil {
		t.Fatal(err)
	}
	return trace
}

func TestMooncakeTrace(t *testing.T) {
	trace := mustRead(t, `
{"timestamp": 3000, "input_length": 1100, "output_length": 0, "hash_ids": [0, 7, 9]}
{"timestamp": 1000, "input_length": 600, "output_length": 5, "hash_ids": [0, 7]}

{"timestamp": 2000, "input_length": 600, "output_length": 5, "hash_ids": [0, 8]}
{"timestamp": 2000.5, "input_length": 700, "output_length": 5, "hash_ids": [8, 7]}
`, ReadOptions{})
	if trace.BlockTokens != 512 || len(trace.Requests) != 4 {
		t.Fatalf("%+v", trace)
	}
	r := trace.Requests
	for i, want := range []time.Duration{0, time.Second, 1000500 * time.Microsecond, 2 * time.Second} {
		if r[i].At != want {
			t.Errorf("request %d at %v, want %v", i, r[i].At, want)
		}
	}
	last := r[3]
	if last.Tokens != 1100 || last.Output != 1 || !slices.Equal(last.Chain[:2], r[0].Chain) {
		t.Errorf("%+v", last)
	}
	if r[1].Chain[0] != r[0].Chain[0] || r[2].Chain[1] == r[0].Chain[1] {
		t.Error("an id behind another prefix is another block")
	}
	if last.Session != r[0].Session || r[1].Session == r[0].Session || last.Affinity != r[0].Affinity {
		t.Error("a prompt that goes on is of the same session, one that shares the first block only is not")
	}
}

func TestSessionsAreReconstructed(t *testing.T) {
	var lines []string
	add := func(ids ...int) {
		list := strings.ReplaceAll(strings.Trim(fmt.Sprint(ids), "[]"), " ", ",")
		lines = append(lines, fmt.Sprintf(`{"timestamp": %d, "input_length": %d, "hash_ids": [%s]}`, len(lines), 512*len(ids), list))
	}
	add(1, 2, 3, 10, 11)         // a conversation behind a system prompt of three blocks
	add(1, 2, 3, 20, 21)         // another
	add(1, 2, 3, 10, 12, 13)     // the first goes on: its last block was not full
	add(1, 2, 3, 20, 21, 22)     // so does the second
	add(1, 2, 3, 10, 12, 13, 14) // and the first again
	add(5)                       // one of a single block
	r := mustRead(t, strings.Join(lines, "\n"), ReadOptions{}).Requests
	if a, b := r[0].Session, r[1].Session; a == b || r[2].Session != a || r[3].Session != b || r[4].Session != a || r[5].Session == a || r[5].Session == b {
		for i := range r {
			t.Errorf("request %d: session %d", i, r[i].Session)
		}
	}
}

func TestTextTrace(t *testing.T) {
	long := strings.Repeat("0123456789abcdef", 40) // 640 bytes
	line := `{"timestamp": %d, "session_id": %q, "input": %q, "output": "12345"}` + "\n"
	text := fmt.Sprintf(line, 1760428221546118, "a", long) + fmt.Sprintf(line, 1760428221646118, "b", long[:300]+"!") + fmt.Sprintf(line, 1760428223546118, "a", "x"+long)
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	_, _ = z.Write([]byte(text))
	_ = z.Close()
	for _, in := range []string{text, zipped.String()} {
		trace := mustRead(t, in, ReadOptions{})
		r := trace.Requests
		if len(r) != 3 || trace.BlockTokens != 64 || r[0].Tokens != 160 || r[0].Output != 2 || len(r[0].Chain) != 2 {
			t.Fatalf("%+v", trace)
		}
		if r[1].At != 100*time.Millisecond || r[2].At != 2*time.Second {
			t.Errorf("times %v %v", r[1].At, r[2].At)
		}
		if r[1].Chain[0] != r[0].Chain[0] || r[2].Chain[0] == r[0].Chain[0] || r[0].Chain[0] == r[0].Chain[1] {
			t.Error("hashes do not tell texts apart")
		}
		if r[0].Session != r[2].Session || r[0].Session == r[1].Session || r[0].Affinity != r[1].Affinity || r[0].Affinity == r[2].Affinity {
			t.Error("sessions or affinities")
		}
	}
}

func TestBodyLog(t *testing.T) {
	system := strings.Repeat("be brief and kind. ", 30)
	first := fmt.Sprintf(`{"model":"m","max_tokens":20,"messages":[{"role":"system","content":%q},{"role":"user","content":"hello"}]}`, system)
	spaced := strings.ReplaceAll(first, `":`, `" : `)
	other := strings.Replace(first, `"m"`, `"n"`, 1)
	trace := mustRead(t, strings.Join([]string{
		`{"timestamp": 10.5, "body": ` + first + `}`,
		fmt.Sprintf(`{"timestamp": 12, "path": "/v1/chat/completions", "body": %q, "output_tokens": 7, "session_id": 4}`, spaced),
		`{"timestamp": 13, "body": ` + other + `}`,
		`{"timestamp": 14, "path": "/v1/completions", "body": {"prompt":"x"}}`,
	}, "\n"), ReadOptions{})
	r := trace.Requests
	if len(r) != 4 || r[1].At != 1500*time.Millisecond || r[0].Output != 20 || r[1].Output != 7 || r[3].Output != defaultOutput {
		t.Fatalf("%+v", r)
	}
	if len(r[0].Chain) < 2 || !slices.Equal(r[0].Chain, r[1].Chain) || r[0].Tokens != r[1].Tokens || r[2].Chain[0] == r[0].Chain[0] {
		t.Error("how the JSON is written makes a difference, or the model none")
	}

	bare := mustRead(t, strings.Repeat(first+"\n", 2000), ReadOptions{Rate: 10, Seed: 3})
	if span := bare.Requests[1999].At; span < 180*time.Second || span > 220*time.Second {
		t.Errorf("2,000 requests at 10 a second took %v", span)
	}
}

func TestReadRefuses(t *testing.T) {
	good := `{"timestamp": 1, "input_length": 600, "output_length": 5, "hash_ids": [0, 7]}` + "\n"
	for _, c := range []struct {
		name, in string
		o        ReadOptions
		want     error
		line     int
	}{
		{"empty", "\n \n", ReadOptions{}, errEmpty, 0},
		{"first line not JSON", "secret", ReadOptions{}, errJSON, 1},
		{"an array", "[1]", ReadOptions{}, errJSON, 1},
		{"unknown fields", `{"secret": 1}`, ReadOptions{}, errFormat, 1},
		{"wrong type", `{"hash_ids": "secret"}`, ReadOptions{}, errJSON, 1},
		{"negative id", `{"input_length": 600, "hash_ids": [-1]}`, ReadOptions{}, errJSON, 1},
		{"no tokens", `{"timestamp": 1, "hash_ids": []}`, ReadOptions{}, errTokens, 1},
		{"too many tokens", `{"timestamp": 1, "input_length": 10000001, "hash_ids": []}`, ReadOptions{}, errTokens, 1},
		{"more ids than blocks", `{"timestamp": 1, "input_length": 512, "hash_ids": [1, 2]}`, ReadOptions{}, errHashes, 1},
		{"time far off", good + strings.Replace(good, "1", "1e18", 1), ReadOptions{}, errTime, 2},
		{"time over all bounds", good + strings.Replace(good, "1", "1e999", 1), ReadOptions{}, errTime, 2},
		{"times in some", good + strings.Replace(good, `"timestamp": 1,`, "", 1), ReadOptions{}, errMixed, 2},
		{"empty text", `{"timestamp": 1, "input": ""}`, ReadOptions{}, errTokens, 1},
		{"two prompts", `{"prompt": ["a", "b"]}`, ReadOptions{}, errBody, 1},
		{"token ids", `{"prompt": [1, 2]}`, ReadOptions{}, errBody, 1},
		{"not a prompt's path", `{"path": "/v1/embeddings", "body": {"input": "secret"}}`, ReadOptions{}, errBody, 1},
		{"body is no object", `{"body": "secret"}`, ReadOptions{}, errBody, 1},
		{"format", good, ReadOptions{Format: "secret"}, errFormat, 0},
		{"block size", good, ReadOptions{BlockTokens: -1}, errBlockSize, 0},
		{"rate", good, ReadOptions{Rate: -1}, errRate, 0},
		{"broken gzip", "\x1f\x8bsecret", ReadOptions{}, errGzip, 0},
		{"long line", `{"input": "` + strings.Repeat("x", maxLine), ReadOptions{}, errLineLong, 1},
	} {
		_, err := Read(strings.NewReader(c.in), c.o)
		var at *LineError
		switch {
		case !errors.Is(err, c.want):
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		case errors.As(err, &at) != (c.line > 0) || at != nil && at.Line != c.line:
			t.Errorf("%s: %v, want it to name line %d", c.name, err, c.line)
		case strings.Contains(err.Error(), "secret"):
			t.Errorf("%s: content in %v", c.name, err)
		}
	}
}

// Rows that are no usable request do not stop the rest.
func TestUnusableRowsAreSkipped(t *testing.T) {
	for name, c := range map[string]struct {
		in              string
		rows, line      int
		reason          error
		requests, block int
	}{
		"none": {`{"timestamp": 1, "input": "a"}`, 0, 0, nil, 1, 64},
		"empty inputs": {`{"timestamp": 1, "input": ""}
{"timestamp": 2, "input": "a"}

{"timestamp": 3, "input": ""}
{"timestamp": 4, "input": "b"}`, 2, 1, errTokens, 2, 64},
		"no lengths": {`{"timestamp": 5, "input_length": 600, "hash_ids": [1]}
{"timestamp": 6, "input_length": 0, "hash_ids": []}`, 1, 2, errTokens, 1, 512},
		"other requests": {`{"model": "m", "messages": [{"role": "user", "content": "hi"}]}
{"model": "m", "input": ["secret"]}
{"model": "m", "prompt": ["two", "prompts"]}
{"model": "m", "mess`, 3, 2, errBody, 1, 64},
		"no format at first": {"log begins\n{}\n" + `{"prompt": "x"}`, 2, 1, errJSON, 1, 64},
	} {
		trace := mustRead(t, c.in, ReadOptions{})
		var at *LineError
		got := trace.Skipped
		if got.Rows != c.rows || !errors.Is(got.First, c.reason) || errors.As(got.First, &at) && at.Line != c.line {
			t.Errorf("%s: %d rows skipped, first %v", name, got.Rows, got.First)
		}
		if len(trace.Requests) != c.requests || trace.Requests[0].At != 0 || trace.BlockTokens != c.block {
			t.Errorf("%s: %+v", name, trace)
		}
		if s := got.String(); (s == "") != (c.rows == 0) || strings.Contains(s, "secret") {
			t.Errorf("%s: %q", name, s)
		}
	}
}

func TestTimeUnits(t *testing.T) {
	for _, c := range []struct {
		stamp  float64
		format Format
		want   time.Duration
	}{
		{1.76e18, Text, time.Nanosecond}, {1.76e15, Mooncake, time.Microsecond}, {1.76e12, Text, time.Millisecond},
		{1.76e9, Mooncake, time.Second}, {0, Mooncake, time.Millisecond}, {0, Text, time.Microsecond}, {0, Bodies, time.Second},
	} {
		if got := unitOf(c.stamp, c.format); got != c.want {
			t.Errorf("%g in %s: %v, want %v", c.stamp, c.format, got, c.want)
		}
	}
	trace := mustRead(t, `{"timestamp": 0, "input": "a"}`+"\n"+`{"timestamp": 2, "input": "a"}`, ReadOptions{TimeUnit: time.Minute})
	if trace.Requests[1].At != 2*time.Minute {
		t.Error(trace.Requests[1].At)
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte(`{"timestamp": 0, "input_length": 1000, "output_length": 10, "hash_ids": [1, 2]}`))
	f.Add([]byte(`{"timestamp": 1760428221546118, "input": "hello", "output": "you", "session_id": "s"}` + "\n{}"))
	f.Add([]byte(`{"model":"m","messages":[{"role":"user","content":"hi"}]}`))
	f.Add([]byte(`{"timestamp":1,"body":"{\"prompt\":\"x\"}","output_tokens":3}`))
	f.Add([]byte("\x1f\x8b\x08"))
	f.Fuzz(func(t *testing.T, in []byte) {
		trace, err := Read(bytes.NewReader(in), ReadOptions{BlockBytes: 16})
		if err != nil {
			return
		}
		last := time.Duration(0)
		for _, r := range trace.Requests {
			if r.At < last || r.Tokens < 1 || r.Output < 1 || r.Session == 0 || len(r.Chain) > r.Tokens {
				t.Fatalf("impossible request %+v", r)
			}
			last = r.At
		}
		s := &Setup{Nodes: 2, Model: DefaultModel(), Speed: 1, KVAware: DefaultKnowledge()}
		r, err := Run(trace, s, "kv_aware")
		if err != nil || r.Requests != len(trace.Requests) {
			t.Fatalf("%d of %d served: %v", r.Requests, len(trace.Requests), err)
		}
	})
}
