// SPDX-License-Identifier: Apache-2.0

package enginesim

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"math"
	"net/http"
)

// versionName is the answer to GET /version; no engine has this version.
const versionName = "0.30.0+enginesim"

func (c *call) version() { c.json(http.StatusOK, map[string]string{"version": versionName}) }

func (c *call) load() {
	c.json(http.StatusOK, map[string]int64{"server_load": c.engine.active.Load()})
}

// models lists the base model, its aliases and its adapters, as vLLM does.
func (c *call) models() {
	names := c.engine.cfg.models()
	data := make([]object, 0, len(names))
	for _, name := range names {
		m := object{
			"id": name, "object": "model", "created": c.engine.created, "owned_by": "vllm",
			"root": c.engine.cfg.root(), "parent": nil, "max_model_len": c.engine.cfg.MaxModelLen, "permission": []any{},
		}
		if adapter := c.engine.cfg.adapter(name); adapter != "" {
			m["root"], m["parent"], m["max_model_len"] = "/adapters/"+adapter, names[0], nil
		}
		data = append(data, m)
	}
	c.json(http.StatusOK, object{"object": "list", "data": data})
}

// resetPrefixCache answers as vLLM does in its development mode: always 200.
func (c *call) resetPrefixCache() {
	c.engine.mu.Lock()
	busy := 0
	for _, r := range c.engine.ranks {
		running, _, _ := r.sched.Load()
		busy += running
	}
	for _, r := range c.engine.ranks {
		if busy == 0 {
			r.sched.ClearCache()
		}
	}
	c.engine.mu.Unlock()
	c.w.WriteHeader(http.StatusOK)
}

// tokenize takes a prompt or a conversation.
func (c *call) tokenize() {
	w, failure := c.engine.cfg.decode(Chat, c.body)
	if failure != nil {
		c.fail(failure)
		return
	}
	var tokens []uint32
	if w.Messages != nil {
		list, failure := w.conversation(Chat)
		if failure != nil {
			c.fail(failure)
			return
		}
		if tokens, failure = w.renderChat(list, c.engine.templateDate()); failure != nil {
			c.fail(failure)
			return
		}
	} else {
		lists, _, failure := prompts(w.Prompt)
		if failure != nil || len(lists) != 1 {
			c.fail(errPrompt)
			return
		}
		tokens = lists[0]
	}
	answer := object{
		"count": len(tokens), "max_model_len": c.engine.cfg.MaxModelLen, "tokens": tokens, "token_strs": nil,
	}
	if w.ReturnTokenStrs {
		strs := make([]string, 0, len(tokens))
		for _, t := range tokens {
			strs = append(strs, c.engine.cfg.spell(t))
		}
		answer["token_strs"] = strs
	}
	c.json(http.StatusOK, answer)
}

func (c *call) detokenize() {
	w, failure := c.engine.cfg.decode(Chat, c.body)
	if failure != nil {
		c.fail(failure)
		return
	}
	c.json(http.StatusOK, map[string]string{"prompt": string(AppendText(nil, w.Tokens))})
}

func (c *call) countTokens() {
	w, failure := c.engine.cfg.decode(Messages, c.body)
	if failure != nil {
		c.fail(failure)
		return
	}
	tokens, _, failure := w.promptTokens(Messages, c.engine.templateDate())
	if failure != nil {
		c.fail(failure)
		return
	}
	c.json(http.StatusOK, map[string]int{"input_tokens": len(tokens[0])})
}

// Sizes of the simulated embedding vectors.
const (
	defaultDimensions = 16
	maxDimensions     = 4096
)

// embed computes prompts without generating; nothing of them is cached.
func (c *call) embed() {
	w, failure := c.engine.cfg.decode(Embeddings, c.body)
	if failure != nil {
		c.fail(failure)
		return
	}
	tokens, _, failure := prompts(w.Input)
	if failure != nil {
		c.fail(failure)
		return
	}
	if w.Dimensions < 0 || w.Dimensions > maxDimensions || w.EncodingFormat != "" && w.EncodingFormat != "float" && w.EncodingFormat != "base64" {
		c.fail(badRequest(fmt.Sprintf("dimensions must be at most %d, encoding_format float or base64", maxDimensions)))
		return
	}
	for _, t := range tokens {
		if len(t) > c.engine.cfg.MaxModelLen {
			c.fail(badRequest("an input is longer than the model's context"))
			return
		}
	}
	on, failure := c.engine.chooseRank(c.r.Header)
	if failure != nil {
		c.fail(failure)
		return
	}
	x := c.exchange(Embeddings, w)
	c.engine.active.Add(1)
	defer c.engine.active.Add(-1)
	defer c.finish(x)
	for i, t := range tokens {
		x.tasks = append(x.tasks, &task{index: i, run: c.engine.submit(on, Job{PromptTokens: len(t)})})
	}
	data := make([]object, 0, len(tokens))
	for i, t := range x.tasks {
		if t.run.waitAll(c.r.Context()) != nil {
			panic(http.ErrAbortHandler)
		}
		data = append(data, object{"object": "embedding", "index": i, "embedding": vector(tokens[i], w)})
	}
	u := x.total()
	c.json(http.StatusOK, object{
		"id": "embd-" + x.id, "object": "list", "created": x.created, "model": x.model, "data": data,
		"usage": openAIUsage{PromptTokens: u.prompt, TotalTokens: u.prompt},
	})
}

// vector returns a unit vector derived from the tokens, in the requested encoding.
func vector(tokens []uint32, w *apiRequest) any {
	n := w.Dimensions
	if n == 0 {
		n = defaultDimensions
	}
	seed, norm := promptSeed(tokens), 0.0
	v := make([]float64, n)
	for i := range v {
		seed = seed*6364136223846793005 + 1442695040888963407
		v[i] = float64(int64(seed))/(1<<63) + 1e-9 // never all zero
		norm += v[i] * v[i]
	}
	raw := make([]byte, 0, 4*n)
	for i := range v {
		v[i] /= math.Sqrt(norm)
		raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(float32(v[i])))
	}
	if w.EncodingFormat == "base64" {
		return base64.StdEncoding.EncodeToString(raw)
	}
	return v
}
