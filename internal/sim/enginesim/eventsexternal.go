// SPDX-License-Identifier: Apache-2.0

package enginesim

import "time"

// externalPoll is the real time between two reads of an External's changes.
// LMCache's connector reads every tenth of a second.
const externalPoll = 20 * time.Millisecond

// maxChunks bounds the chunks whose content is remembered.
const maxChunks = 1 << 16

// chunk is the content of a chunk of the external tier.
type chunk struct {
	root   bool
	parent uint64
	tokens []uint32
	lora   string
	loraID int
}

// remember keeps the content of a job's chunks for later events. As in LMCache,
// chunks with a salt have no events.
func (r *recorder) remember(j *Job, chain []uint64, size int) {
	if j.Salt != "" || len(r.chunks)+len(chain) > maxChunks {
		return
	}
	for i, name := range chain {
		if _, known := r.chunks[name]; known || len(j.Tokens) < (i+1)*size {
			continue
		}
		c := chunk{root: i == 0, tokens: j.Tokens[i*size : (i+1)*size], lora: j.Adapter}
		if i > 0 {
			c.parent = r.chunkName(chain[i-1])
		}
		r.chunks[name] = c
	}
}

// chunkName returns a chunk's name in events, which differs from any block's.
func (r *recorder) chunkName(chunk uint64) uint64 { return mix(chunk, ^r.seed) }

// external publishes changes of chunks.
func (r *recorder) external(changes []ExternalChange) {
	for _, change := range changes {
		e := kvEvent{kind: blockRemoved, hashes: []uint64{r.chunkName(change.Chunk)}, medium: change.Medium}
		if !change.Removed {
			c, known := r.chunks[change.Chunk]
			if !known {
				continue
			}
			e.kind, e.root, e.parent, e.tokens, e.size, e.lora, e.loraID = blockStored, c.root, c.parent, c.tokens, len(c.tokens), c.lora, c.loraID
		}
		r.pending = append(r.pending, e)
	}
	r.stepped()
}

// publishExternal publishes the changes of the external tier until the engine
// closes. All ranks share the tier; the first one publishes.
func (e *Engine) publishExternal(from Reporter) {
	tick := time.NewTicker(externalPoll)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			e.mu.Lock()
			e.ranks[0].recorder.external(from.Changes())
			e.mu.Unlock()
		case <-e.stop:
			return
		}
	}
}
