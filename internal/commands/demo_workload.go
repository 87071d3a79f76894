// SPDX-License-Identifier: Apache-2.0

package commands

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
)

// scale sets the size of a demo.
type scale struct {
	engines        int           // per policy
	documents      int           // subjects of the questions
	documentTokens int           // approximate length of a document
	conversations  int           // with one to four turns each
	spread         time.Duration // time over which conversations begin
	prefillRate    float64       // prompt tokens per second of an engine
	cacheTokens    int           // KV cache of an engine
	answerTokens   int
}

// fullDemo is the scale of `caddy kv-demo`. The documents do not fit into one
// engine's cache, but into all caches together, so routing by prefix pays.
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

// chatMessage is one message of a chat request.
type chatMessage struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

// conversation is one client with its questions.
type conversation struct {
	begin     time.Duration
	opening   []chatMessage
	questions []string // after the opening
}

// workload holds conversations, many of which share a document: a system prompt
// common to all, then document and question in one message, then further
// questions.
type workload struct {
	conversations []conversation
	turns         int
}

// newWorkload returns the same workload for the same scale.
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

// prose returns random words with about so many tokens.
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

// requestBody returns the request body of a conversation.
func requestBody(messages []chatMessage) []byte {
	raw, err := json.Marshal(map[string]any{"model": "sim", "stream": true, "messages": messages})
	if err != nil {
		panic(err) // strings and bools always marshal
	}
	return raw
}
