// SPDX-License-Identifier: Apache-2.0

package lmcache

import (
	"bytes"
	"encoding/json"
	"io"
	"math/rand/v2"
	"testing"
	"testing/iotest"
)

// TestBody compares the streamed body with that of encoding/json.
func TestBody(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for round := range 200 {
		tokens := make([]uint32, random.IntN(300))
		for i := range tokens {
			tokens[i] = random.Uint32() >> random.IntN(32)
		}
		b := stagingBody(nil, "Qwen/Qwen3-8B", 2, tokens, `a"b<é`)
		var want bytes.Buffer
		e := json.NewEncoder(&want)
		e.SetEscapeHTML(false)
		err := e.Encode(struct {
			Model  string   `json:"model_name"`
			World  int      `json:"world_size"`
			Tokens []uint32 `json:"token_ids"`
			Salt   string   `json:"cache_salt"`
			From   string   `json:"source_tier"`
			To     string   `json:"target_tier"`
		}{"Qwen/Qwen3-8B", 2, tokens, `a"b<é`, "l2", "l1"})
		if err != nil {
			t.Fatal(err)
		}
		expected := bytes.TrimSpace(want.Bytes())
		reader := io.Reader(b.reader())
		switch round % 3 {
		case 1:
			reader = iotest.OneByteReader(reader)
		case 2:
			reader = iotest.HalfReader(reader)
		}
		got, err := io.ReadAll(reader)
		if err != nil || !bytes.Equal(got, expected) {
			t.Fatalf("got %s, want %s (%v)", got, expected, err)
		}
		if b.size() != int64(len(got)) {
			t.Fatalf("size %d of %d bytes", b.size(), len(got))
		}
	}
}

// TestLoanEnds: no token is read after the end of the loan, when their owner wipes
// them, even if net/http goes on reading.
func TestLoanEnds(t *testing.T) {
	b := stagingBody(nil, "m", 1, count(1000), "")
	r := b.reader()
	if n, err := r.Read(make([]byte, 100)); n != 100 || err != nil {
		t.Fatal(n, err)
	}
	b.loan.end()
	if n, err := r.Read(make([]byte, 100)); n != 0 || err != io.ErrClosedPipe {
		t.Errorf("read %d bytes after the end: %v", n, err)
	}
	if n, err := b.reader().Read(make([]byte, 100)); n != 0 || err != io.ErrClosedPipe {
		t.Errorf("read %d bytes anew after the end: %v", n, err)
	}
}

func BenchmarkBody(b *testing.B) {
	tokens := count(100_000)
	b.ReportAllocs()
	for b.Loop() {
		body := stagingBody(nil, "m", 1, tokens, "")
		if n, err := io.Copy(io.Discard, body.reader()); err != nil || n != body.size() {
			b.Fatal(n, err)
		}
	}
}
