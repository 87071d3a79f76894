// SPDX-License-Identifier: Apache-2.0

package commands

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
)

// scale is how much a demo does.
type scale struct {
	engines        int           // of each fleet
	documents      int           // that questions are about
	documentTokens int           // length of one, about
	conversations  int           // of one to four turns each
	spread         time.Duration // over which conversations begin
	prefillRate    float64       // tokens a second, of one engine
	cacheTokens    int           // room of one engine's KV cache
	answerTokens   int
}

// fullDemo is what `caddy kv-demo` does. The documents do not fit into one
// engine's cache, but into the fleet's: what routing by prefix is for.
var fullDemo = scale{
	engines:        4,
	documents:      24,
	documentTokens: 3000,
	conversations:  80,
	spread:         20 * time.Second,
	prefillRate:    8000,
	cacheTokens:    40_000,
	answerTokens:   24,
}

// message is one of a chat.
type chatMessage struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

// conversation is a client that asks, reads, thinks and asks on.
type conversation struct {
	begin     time.Duration
	opening   []chatMessage
	questions []string // after the first
}

// workload is conversations about documents that many of them share: a system
// prompt common to all, then document and question in one message, then
// further questions.
type workload struct {
	conversations []conversation
	turns         int
}

// newWorkload makes the same workload each time.
func newWorkload(s scale) *workload {
	rnd := rand.New(rand.NewPCG(1, 2))
	system := chatMessage{"system", "You answer questions about documents, briefly. " + prose(rnd, 400)}
	documents := make([]string, s.documents)
	for i := range documents {
		documents[i] = fmt.Sprintf("Document %d.\n%s", i, prose(rnd, s.documentTokens))
	}
	w := &workload{conversations: make([]conversation, s.conversations)}
	for i := range w.conversations {
		// Some documents are asked about more than others.
		document := documents[min(rnd.IntN(s.documents), rnd.IntN(s.documents))]
		c := conversation{
			begin:   time.Duration(rnd.Int64N(int64(s.spread))),
			opening: []chatMessage{system, {"user", document + "\n\nQuestion: " + prose(rnd, 15)}},
		}
		for range rnd.IntN(4) {
			c.questions = append(c.questions, prose(rnd, 15))
		}
		w.conversations[i] = c
		w.turns += 1 + len(c.questions)
	}
	return w
}

// prose returns words of about so many tokens.
func prose(rnd *rand.Rand, tokens int) string {
	words := strings.Fields("a node holds the keys and values of each token so that a later prompt with the same " +
		"prefix can skip most of its work while another one must compute all of them again before it can answer")
	var b strings.Builder
	for b.Len() < tokens*4 {
		b.WriteString(words[rnd.IntN(len(words))])
		b.WriteByte(' ')
	}
	return b.String()
}

// body returns the request for a conversation so far.
func requestBody(messages []chatMessage) []byte {
	raw, err := json.Marshal(map[string]any{"model": "sim", "stream": true, "messages": messages})
	if err != nil {
		panic(err) // strings and bools always marshal
	}
	return raw
}
