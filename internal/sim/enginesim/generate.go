// SPDX-License-Identifier: Apache-2.0

package enginesim

import (
	"fmt"
	"net/http"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/cespare/xxhash/v2"
)

// task is one prompt of a request, with its answer.
type task struct {
	index int // among the prompts of the request
	run   *run
	out   output
}

// exchange holds the request's settings and results that the formats write.
type exchange struct {
	id                string // without the format's prefix
	created           int64
	model             string
	api               API
	stream            bool
	usage             bool // stream: send a usage chunk
	continuousUsage   bool // stream: usage in every chunk
	hideCached        bool // no cached tokens in usage
	finishWithContent bool // finish_reason shares the last piece of text
	tasks             []*task
	store             *responseStore // nil: the response is not kept
}

// usage of a request, over all its prompts.
type usage struct{ prompt, cached, output int }

// generate serves the formats that generate text.
func (c *call) generate(api API) {
	w, tokens, texts, limit, failure := c.readPrompts(api)
	if failure != nil {
		c.fail(failure)
		return
	}
	on, failure := c.engine.chooseRank(c.r.Header)
	if failure != nil {
		c.fail(failure)
		return
	}
	x := c.exchange(api, w)
	c.engine.active.Add(1)
	defer c.engine.active.Add(-1)
	defer c.finish(x)
	for i := range tokens {
		x.tasks = append(x.tasks, c.start(on, w, api, i, tokens[i], texts[i], limit))
	}
	c.keep(x, w)
	if x.stream {
		c.stream(x)
	} else {
		c.whole(x)
	}
}

// readPrompts parses a request to generate: its prompts, as tokens and as text,
// and the token limit of each answer.
func (c *call) readPrompts(api API) (w *apiRequest, tokens [][]uint32, texts []string, limit int, failure *apiError) {
	if w, failure = c.engine.cfg.decode(api, c.body); failure != nil {
		return w, nil, nil, 0, failure
	}
	if id := w.PreviousResponseID; id != "" {
		var found bool
		if w.history, found = c.engine.responses.find(id); !found {
			return w, nil, nil, 0, errStored
		}
	}
	if tokens, texts, failure = w.promptTokens(api, c.engine.templateDate()); failure != nil {
		return w, nil, nil, 0, failure
	}
	limit, failure = c.engine.cfg.outputLimit(w, tokens)
	return w, tokens, texts, limit, failure
}

// outputLimit returns the token limit of each answer.
func (c *Config) outputLimit(w *apiRequest, tokens [][]uint32) (int, *apiError) {
	room := c.MaxModelLen
	for _, t := range tokens {
		room = min(room, c.MaxModelLen-len(t))
	}
	if room < 1 || w.maxOutput() > room {
		return 0, badRequest(fmt.Sprintf("This model's maximum context length is %d tokens, "+
			"which prompt and output of this request exceed.", c.MaxModelLen))
	}
	if n := w.maxOutput(); n > 0 {
		return n, nil
	}
	return min(room, maxOutput), nil
}

// start generates the answer to one prompt and queues the work on a rank.
func (c *call) start(on *rank, w *apiRequest, api API, index int, prompt []uint32, text string, limit int) *task {
	cfg := &c.engine.cfg
	seed := promptSeed(prompt)
	reply := cfg.Responder(Request{
		API: api, Path: c.r.URL.Path, Header: c.r.Header, Body: c.body, Model: w.Model, Stream: w.Stream,
		LastUser: text, PromptTokens: len(prompt), MaxTokens: limit, Seed: seed,
	})
	out := generate(reply, limit)
	if w.IgnoreEOS && w.maxOutput() > 0 && len(out.tokens) < limit {
		reply.Text += words(seed, limit)
		out = generate(reply, limit)
	}
	all := make([]uint32, 0, len(prompt)+len(out.tokens))
	all = append(append(all, prompt...), out.tokens...)
	adapter := cfg.adapter(w.Model)
	return &task{index: index, out: out, run: c.engine.submit(on, Job{
		PromptTokens: len(prompt), OutputTokens: len(out.tokens),
		Chain:  blockChain(adapter, w.salt(), all, cfg.BlockTokens),
		Tokens: all, Adapter: adapter, Salt: w.salt(), Reports: w.Extra.KVCacheReportMode == "full",
	})}
}

func promptSeed(tokens []uint32) uint64 {
	hash := uint64(len(tokens))
	if chain := blockChain("", "", tokens, min(len(tokens), 16)); len(chain) > 0 {
		hash ^= chain[len(chain)-1]
	}
	return hash
}

func (c *call) exchange(api API, w *apiRequest) *exchange {
	x := &exchange{
		created:           time.Now().Unix(),
		model:             w.Model,
		api:               api,
		stream:            w.Stream,
		hideCached:        c.engine.cfg.HidePromptDetails,
		finishWithContent: c.engine.cfg.FinishWithContent,
	}
	if x.model == "" {
		x.model = c.engine.cfg.models()[0]
	}
	if o := w.StreamOptions; o != nil {
		x.usage, x.continuousUsage = o.IncludeUsage, o.ContinuousUsageStats
	}
	x.id = c.r.Header.Get("X-Request-Id")
	if x.id == "" || len(x.id) > 128 || !utf8.ValidString(x.id) {
		x.id = fmt.Sprintf("%016x%016x", xxhash.Sum64String(c.engine.Addr()), c.number)
	}
	return x
}

// total returns the usage of all prompts so far.
func (x *exchange) total() usage {
	var u usage
	for _, t := range x.tasks {
		t.run.engine.mu.Lock()
		u.prompt += t.run.PromptTokens
		u.cached += t.run.Cached
		u.output += t.run.Produced
		t.run.engine.mu.Unlock()
	}
	return u
}

// finish records a request, however it ended.
func (c *call) finish(x *exchange) {
	for _, t := range x.tasks {
		c.account(x.api, x.model, t.run.rank.id, t.run.end())
	}
}

func (c *call) account(api API, model string, rank int, j Job) {
	s := Served{
		Request: c.number, API: api, Model: model, Rank: rank,
		PromptTokens: j.PromptTokens, CachedTokens: j.Cached, OutputTokens: j.Produced,
		Total: j.Finished - j.Arrival, Cancelled: j.Cancelled,
	}
	if j.started {
		s.QueueTime = j.Scheduled - j.Arrival
	}
	if j.FirstToken > 0 {
		s.TTFT = j.FirstToken - j.Arrival
	}
	c.engine.log.finish(s)
}

// whole waits for all answers and sends them in one piece.
func (c *call) whole(x *exchange) {
	for _, t := range x.tasks {
		if t.run.waitAll(c.r.Context()) != nil {
			panic(http.ErrAbortHandler)
		}
	}
	c.json(http.StatusOK, x.format().whole())
}

// format writes answers in one API's format.
type format interface {
	// whole returns a complete answer, to be sent as JSON.
	whole() any
	// The others return records of a stream: begin with the first token of a
	// prompt's answer; open, delta and close for each part of it, in order;
	// finish at its end. end closes the stream.
	begin(t *task) []byte
	open(t *task, part int) []byte
	delta(t *task, part int, text string, last bool) []byte
	close(t *task, part int) []byte
	finish(t *task) []byte
	end() []byte
}

func (x *exchange) format() format {
	switch x.api {
	case Completions:
		return &completionsFormat{x}
	case Responses:
		return &responsesFormat{exchange: x}
	case Messages:
		return &messagesFormat{x}
	default:
		return &chatFormat{x}
	}
}

// finishReason returns OpenAI's finish_reason.
func (t *task) finishReason() string {
	switch {
	case t.out.truncated:
		return "length"
	case t.out.calls():
		return "tool_calls"
	}
	return "stop"
}

func (o *output) calls() bool {
	for i := range o.parts {
		if o.parts[i].call != nil {
			return true
		}
	}
	return false
}

// text returns the answer's text, as far as max_tokens allows.
func (o *output) text() string {
	for i := range o.parts {
		if o.parts[i].call == nil {
			return o.parts[i].readable(len(o.tokens))
		}
	}
	return ""
}

// toolCalls returns the answer's tool calls, as far as max_tokens allows.
func (o *output) toolCalls() []ToolCall {
	var calls []ToolCall
	for i := range o.parts {
		if p := &o.parts[i]; p.call != nil && p.opened(len(o.tokens)) {
			calls = append(calls, ToolCall{Name: p.call.Name, Arguments: p.readable(len(o.tokens))})
		}
	}
	return calls
}

// callID returns the id of a tool call.
func (x *exchange) callID(part int) string { return "call_" + x.id + "_" + strconv.Itoa(part) }
