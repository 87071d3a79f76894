// SPDX-License-Identifier: Apache-2.0

package commands

import (
	"encoding/json"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/bauxite/caddy-kvaware/internal/replay"
)

const (
	// maxBenchPrompt bounds a generated prompt, in tokens.
	maxBenchPrompt = 1_000_000
	// benchBlock is the size of the blocks of generated prompts, in tokens.
	benchBlock = 50
	// benchAnswer bounds the answers to generated prompts, in tokens.
	benchAnswer = 64
)

var (
	errLongPrompt = errors.New("the trace has prompts of more than 1,000,000 tokens")
	errSessions   = errors.New("--sessions and --turns: want 1 to 100000")
	errPromptSize = errors.New("--prompt-tokens and --turn-tokens: want 1 to 100000")
	errBenchRate  = errors.New("--rate: want more than 0, at most 1000000 requests a second")
)

// benchWork holds the requests to send.
type benchWork struct {
	trace *replay.Trace
	speed float64
	seed  uint64
}

// sessionOptions describe the conversations to generate.
type sessionOptions struct {
	sessions, turns, prompt, turn int
	rate                          float64
}

// trace generates the conversations. Their requests arrive at random times and
// in random order.
func (o *sessionOptions) trace(seed uint64) (*replay.Trace, error) {
	bounded := func(n int) bool { return n >= 1 && n <= 100_000 }
	switch {
	case !bounded(o.sessions) || !bounded(o.turns):
		return nil, errSessions
	case !bounded(o.prompt) || !bounded(o.turn):
		return nil, errPromptSize
	case !(o.rate > 0 && o.rate <= 1e6):
		return nil, errBenchRate
	}
	rnd := rand.New(rand.NewPCG(seed, 21))
	t := &replay.Trace{BlockTokens: benchBlock}
	order := make([]int, 0, min(o.sessions*o.turns, 1_000_000))
	for i := range cap(order) {
		order = append(order, i%o.sessions)
	}
	rnd.Shuffle(len(order), func(i, k int) { order[i], order[k] = order[k], order[i] })
	turns := make([]int, o.sessions)
	at := 0.0
	for _, session := range order {
		tokens := o.prompt + turns[session]*o.turn
		turns[session]++
		if tokens > maxBenchPrompt {
			return nil, errPromptSize
		}
		t.Requests = append(t.Requests, replay.Request{
			At:      time.Duration(at * float64(time.Second)),
			Tokens:  tokens,
			Output:  benchAnswer,
			Chain:   o.chain(session, tokens),
			Session: uint64(session) + 1,
		})
		at += rnd.ExpFloat64() / o.rate
	}
	return t, nil
}

// chain returns a prompt's block ids. All conversations share the first half of
// the first prompt.
func (o *sessionOptions) chain(session, tokens int) []uint64 {
	chain := make([]uint64, tokens/benchBlock)
	for i := range chain {
		if chain[i] = uint64(i) + 1; (i+1)*benchBlock > o.prompt/2 {
			chain[i] |= uint64(session+1) << 32
		}
	}
	return chain
}

// vocabulary has common words of three letters: with the space in front, each is
// one token in nearly every tokenizer.
var vocabulary = [...]string{
	"the", "and", "for", "are", "but", "not", "you", "all", "any", "can", "had", "her", "was", "one", "our", "out",
	"day", "get", "has", "him", "his", "how", "man", "new", "now", "old", "see", "two", "way", "who", "boy", "did",
	"its", "let", "put", "say", "she", "too", "use", "big", "far", "few", "got", "own", "red", "run", "set", "six",
	"ten", "top", "try", "war", "why", "yes", "yet", "car", "cut", "eat", "end", "eye", "job", "law", "lot", "sun",
}

// text appends the generated text of a request. Under one salt, equal blocks have
// equal words. The text behind the last whole block is the request's own.
func (w *benchWork) text(dst []byte, number int, salt uint64) []byte {
	r := &w.trace.Requests[number]
	left := r.Tokens
	words := func(source *rand.PCG, n int) {
		n = min(n, left)
		left -= n
		for bits, have := uint64(0), 0; n > 0; n-- {
			if have == 0 {
				bits, have = source.Uint64(), 10
			}
			dst = append(append(dst, vocabulary[bits%uint64(len(vocabulary))]...), ' ')
			bits, have = bits>>6, have-1
		}
	}
	for _, h := range r.Chain {
		words(rand.NewPCG(h, w.seed<<8|salt), w.trace.BlockTokens)
	}
	words(rand.NewPCG(uint64(number), ^(w.seed<<8|salt)), left)
	return dst
}

// body returns the body of a request.
func (w *benchWork) body(number int, model string, salt uint64) []byte {
	r := &w.trace.Requests[number]
	raw, err := json.Marshal(map[string]any{
		"model":          model,
		"stream":         true,
		"stream_options": map[string]bool{"include_usage": true},
		"max_tokens":     r.Output,
		"messages":       []chatMessage{{"user", string(w.text(make([]byte, 0, 4*r.Tokens), number, salt))}},
	})
	if err != nil {
		panic(err) // strings, numbers and bools always marshal
	}
	return raw
}
