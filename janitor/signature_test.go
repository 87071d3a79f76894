// SPDX-License-Identifier: Apache-2.0

package janitor

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/bauxite/caddy-kvaware/internal/prompt"
	"github.com/cespare/xxhash/v2"
)

// signed returns the signature that the handler's Exchange makes for a body.
func signed(t testing.TB, h *Handler, path, body string, blockSize, depth int) Signature {
	t.Helper()
	var s Signature
	e := new(engine)
	e.answer = func(w http.ResponseWriter, _ *http.Request) error {
		var ok bool
		if s, ok = e.exchange.Sign([]byte("key"), "model", "tenant", blockSize, depth); !ok {
			t.Errorf("not signable: %s", body)
		}
		return nil
	}
	if w := serveTo(t, h, newRequest("POST", path, strings.NewReader(body)), e); w.Code != 200 {
		t.Fatalf("status %d: %s", w.Code, w.Body)
	}
	return s
}

// slowSign follows the definition of a signature word for word.
func slowSign(t testing.TB, api prompt.API, body string, key, model, tenant string, blockSize, depth int) (chain []uint64, total, covered int, cut bool) {
	t.Helper()
	var d prompt.Document
	if err := d.Parse(api, []byte(body)); err != nil {
		t.Fatal(err)
	}
	var text []byte
	d.Render(func(message int32, chunk []byte) bool {
		total += len(chunk)
		if depth > 0 && int(message) >= depth {
			cut = true
			return true
		}
		text = append(text, chunk...)
		return true
	})
	var root bytes.Buffer
	for _, s := range []string{key, model, tenant} {
		_ = binary.Write(&root, binary.LittleEndian, uint64(len(s)))
		root.WriteString(s)
	}
	_ = binary.Write(&root, binary.LittleEndian, uint64(api))
	_ = binary.Write(&root, binary.LittleEndian, uint64(blockSize))
	h := xxhash.Sum64(root.Bytes())
	for len(text) >= blockSize || cut && len(text) > 0 {
		n := min(blockSize, len(text))
		x := xxhash.NewWithSeed(h)
		_, _ = x.Write(text[:n])
		h = x.Sum64()
		chain = append(chain, h)
		text = text[n:]
		covered += n
	}
	return chain, total, covered, cut
}

// conversation returns the turns of a random chat of clean text.
func conversation(rnd *rand.Rand, turns int) []string {
	var messages, bodies []string
	word := func() string { return []string{"alpha", "beta\\n", "gämma", "δ", "\\\"x\\\"", "2 + 2"}[rnd.IntN(6)] }
	for i := range turns {
		var words []string
		for range 1 + rnd.IntN(60) {
			words = append(words, word())
		}
		role := []string{"system", "user", "assistant"}[min(i, 1+i%2)]
		messages = append(messages, fmt.Sprintf(`{"role":%q,"content":"%s"}`, role, strings.Join(words, " ")))
		bodies = append(bodies, `{"model":"m","messages":[`+strings.Join(messages, ",")+`]}`)
	}
	return bodies
}

func TestSignatureAgainstDefinition(t *testing.T) {
	h := newHandler(t)
	rnd := rand.New(rand.NewPCG(3, 4))
	for range 60 {
		for _, body := range conversation(rnd, 1+rnd.IntN(6)) {
			blockSize, depth := 1+rnd.IntN(300), rnd.IntN(5)
			s := signed(t, h, chatPath, body, blockSize, depth)
			chain, total, covered, cut := slowSign(t, prompt.Chat, body, "key", "model", "tenant", blockSize, depth)
			if !slices.Equal(s.Chain(), chain) || s.PromptBytes() != total || s.CoveredBytes() != covered || s.Cut() != cut || s.BlockSize() != blockSize {
				t.Fatalf("block size %d, depth %d: %+v\nwant %d blocks, %d, %d, %t\n%s", blockSize, depth, s, len(chain), total, covered, cut, body)
			}
		}
	}
}

// The chain of each turn is a prefix of the next turn's chain, at any depth, even
// with personal data in every turn.
func TestSignatureGrows(t *testing.T) {
	h := newHandler(t)
	rnd := rand.New(rand.NewPCG(5, 6))
	for range 40 {
		bodies := conversation(rnd, 8)
		for i := range bodies {
			for k := range 8 {
				bodies[i] = strings.Replace(bodies[i], "alpha beta", fmt.Sprintf("p%d@example.org", (k*7+3)%5), 1)
			}
		}
		blockSize, depth := 16+rnd.IntN(200), rnd.IntN(6)
		var last Signature
		for i, body := range bodies {
			s := signed(t, h, chatPath, body, blockSize, depth)
			if n := len(last.chain); len(s.chain) < n || !slices.Equal(s.chain[:n], last.chain) {
				t.Fatalf("turn %d, block size %d, depth %d: turn before is no prefix", i, blockSize, depth)
			}
			last = s
		}
	}
}

// The last end of a turn is among the ends of the next turn, unless too many
// messages were added, and not among those of another conversation.
func TestSignatureEnds(t *testing.T) {
	h := newHandler(t)
	turn := func(messages ...string) Signature {
		return signed(t, h, "/v1/chat/completions", `{"model":"m","messages":[`+strings.Join(messages, ",")+`]}`, 64, 0)
	}
	say := func(role, text string) string { return fmt.Sprintf(`{"role":%q,"content":%q}`, role, text) }
	history := []string{say("user", "one"), say("assistant", "two"), say("user", strings.Repeat("three ", 30))}
	one, three := turn(history[:1]...), turn(history...)
	if len(one.Ends()) != 1 || len(three.Ends()) != 3 {
		t.Fatalf("%d and %d ends, want 1 and 3", len(one.Ends()), len(three.Ends()))
	}
	if answered := three.Ends(); !answered[0].Answered || answered[1].Answered || answered[2].Answered || one.Ends()[0].Answered {
		t.Fatalf("answered: %v, %v", answered, one.Ends())
	}
	if one.Ends()[0].Hash != three.Ends()[0].Hash || one.Ends()[0].Bytes != one.PromptBytes() {
		t.Fatalf("the first turn ends at %v, the third has %v; length %d", one.Ends(), three.Ends(), one.PromptBytes())
	}
	if last := three.Ends()[2]; last.Bytes != three.PromptBytes() {
		t.Fatalf("the last end is at %d of %d", last.Bytes, three.PromptBytes())
	}
	if other := turn(say("user", "One")); other.Ends()[0].Hash == one.Ends()[0].Hash {
		t.Fatal("two texts end alike")
	}
	for range MaxEnds {
		history = append(history, say("user", "more"))
	}
	if ends := turn(history...).Ends(); len(ends) != MaxEnds || slices.Contains(ends, three.Ends()[2]) {
		t.Fatalf("%d ends: %v", len(ends), ends)
	}
	if cut := signed(t, h, "/v1/chat/completions", `{"messages":[`+strings.Join(history, ",")+`]}`, 64, 2); len(cut.Ends()) != 0 {
		t.Fatal("a prompt that is cut has an end")
	}
}

// Options that change the tokens of a rendition change the variant, under each key in
// another way.
func TestSignatureVariant(t *testing.T) {
	h := newHandler(t)
	seen := make(map[uint64]string)
	for _, option := range []string{
		``, `"add_generation_prompt":false,`, `"add_special_tokens":false,`, `"continue_final_message":true,`,
		`"add_special_tokens":true,`, `"response_format":{"type":"json_object"},`,
	} {
		s := signed(t, h, "/v1/chat/completions", `{`+option+`"messages":[{"role":"user","content":"hello"}]}`, 64, 0)
		if other, twice := seen[s.Variant()]; twice || (option == "") != (s.Variant() == 0) {
			t.Errorf("%s: variant %x, as of %q", option, s.Variant(), other)
		}
		seen[s.Variant()] = option
	}
	one, other := prompt.Document{}, prompt.Document{}
	body := []byte(`{"add_special_tokens":true,"messages":[]}`)
	if one.Parse(prompt.Chat, body) != nil || other.Parse(prompt.Chat, body) != nil || variant(&one, []byte("a")) == variant(&other, []byte("b")) {
		t.Error("two keys give one variant")
	}
	for member, want := range map[string][2]bool{
		`"prompt_logprobs":0,`: {true, false}, `"truncate_prompt_tokens":9,`: {false, true}, ``: {false, false},
	} {
		s := signed(t, h, "/v1/chat/completions", `{`+member+`"messages":[{"role":"user","content":"hello"}]}`, 64, 0)
		if got := [2]bool{s.NoCache(), s.Doubtful()}; got != want {
			t.Errorf("%s: NoCache and Doubtful are %v", member, got)
		}
	}
}

// Two prompts that differ only in a value have the same signature, in each mode
// that forwards.
func TestSignatureHidesValues(t *testing.T) {
	for _, mode := range modeNames {
		if mode == "block" {
			continue
		}
		h := newHandler(t, func(h *Handler) { h.Mode = mode })
		a := signed(t, h, chatPath, chat("write to "+mail+", please, and tell me what it says"), 32, 0)
		b := signed(t, h, chatPath, chat("write to "+mail2+", please, and tell me what it says"), 32, 0)
		if !slices.Equal(a.chain, b.chain) || len(a.chain) == 0 {
			t.Errorf("%s: %v and %v", mode, a.chain, b.chain)
		}
		c := signed(t, h, chatPath, chat("write to her house, please, and tell me what it says"), 32, 0)
		if slices.Equal(a.chain, c.chain) {
			t.Errorf("%s: another prompt has the same signature", mode)
		}
	}
}

// Key, model, tenant, API and block size all change the signature and cannot be
// mistaken for one another.
func TestSignatureSeeds(t *testing.T) {
	type seed struct {
		api                prompt.API
		key, model, tenant string
		blockSize          int
	}
	seeds := []seed{
		{prompt.Chat, "k", "m", "t", 64}, {prompt.Chat, "k2", "m", "t", 64}, {prompt.Chat, "k", "m2", "t", 64},
		{prompt.Chat, "k", "m", "t2", 64}, {prompt.Messages, "k", "m", "t", 64}, {prompt.Chat, "k", "m", "t", 65},
		{prompt.Chat, "km", "", "t", 64}, {prompt.Chat, "k", "mt", "", 64}, {prompt.Chat, "", "km", "t", 64},
	}
	roots := make(map[uint64]seed)
	for _, s := range seeds {
		r := root(s.api, []byte(s.key), s.model, s.tenant, s.blockSize)
		if other, ok := roots[r]; ok {
			t.Errorf("%+v and %+v have the same root", s, other)
		}
		roots[r] = s
	}
}

// Sign refuses requests that must not enter the tree.
func TestSignRefuses(t *testing.T) {
	h := newHandler(t, func(h *Handler) { h.Unknown = "pass"; h.Mode = "detect" })
	cases := []struct{ method, path, body string }{
		{"POST", "/v1/embeddings", `{"input":"text"}`},
		{"POST", "/v1/completions", `{"prompt":["a","b"]}`},
		{"POST", "/v1/completions", `{"prompt":[1,2]}`},
		{"POST", "/x", `{"a":"b"}`},
		{"POST", "/x", `text`},
		{"POST", chatPath, `{"messages":[{"role":"user","content":"x"}],"metadata":{"` + mail + `":1}}`},
		{"GET", "/v1/models", ``},
	}
	for _, c := range cases {
		e := new(engine)
		e.answer = func(w http.ResponseWriter, _ *http.Request) error {
			if s, ok := e.exchange.Sign([]byte("k"), "m", "", 16, 0); ok {
				t.Errorf("%s %s: signed as %+v", c.path, c.body, s)
			}
			return nil
		}
		serveTo(t, h, newRequest(c.method, c.path, strings.NewReader(c.body)), e)
		if !e.called {
			t.Errorf("%s %s: not forwarded", c.path, c.body)
		}
	}
	e := new(engine)
	e.answer = func(w http.ResponseWriter, _ *http.Request) error {
		for _, bad := range [][2]int{{0, 0}, {-1, 0}, {16, -1}} {
			if _, ok := e.exchange.Sign(nil, "", "", bad[0], bad[1]); ok {
				t.Errorf("signed with block size %d and depth %d", bad[0], bad[1])
			}
		}
		w.WriteHeader(200)
		if _, ok := e.exchange.Sign([]byte("k"), "m", "", 16, 0); ok {
			t.Error("signed after the bodies were released")
		}
		return nil
	}
	serveTo(t, h, postChat("hello"), e)
}

func BenchmarkSign(b *testing.B) {
	body := []byte(chat(strings.Repeat("The quick brown fox jumps over the lazy dog. ", 1<<20/45)))
	var d prompt.Document
	if err := d.Parse(prompt.Chat, body); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		sign(&d, prompt.Chat, []byte("0123456789abcdef"), "m", "", 256, 0)
	}
}

// benchEngine signs and answers nothing.
type benchEngine struct{ signed bool }

func (e *benchEngine) ServeHTTP(_ http.ResponseWriter, r *http.Request) error {
	x, _ := From(r)
	_, e.signed = x.Sign([]byte("0123456789abcdef"), "m", "", 256, 0)
	return nil
}
