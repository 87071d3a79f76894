// SPDX-License-Identifier: Apache-2.0

package enginesim

import (
	"math/rand/v2"
	"net"
	"slices"
	"time"
)

// EventsConfig configures the KV events of a node, which it publishes over ZMTP
// like the zmq publishers of vLLM and SGLang. The zero value is vLLM's format of
// late 2026, on free ports and without replay.
type EventsConfig struct {
	// Encoding is EventMap (the default), EventArray or EventSGLang.
	Encoding string
	// WideHashes publishes 32-byte digests instead of 64-bit integers, as vLLM
	// does with VLLM_KV_EVENTS_USE_INT_BLOCK_HASHES=0. Not with EventSGLang.
	WideHashes bool
	// Topic is the first frame of each message. Default: empty; with Connect
	// kv@ADDRESS@MODEL.
	Topic string
	// Seed determines the names of blocks. Default: random, and new after each
	// restart, so that no two processes use the same names.
	Seed uint64
	// FirstSequence is the number of a process's first batch. vLLM begins with
	// 0, llm-d's simulator with 1.
	FirstSequence uint64

	// Host is the address that the sockets listen on. Default: the host of the
	// node's own listener, 127.0.0.1 without one.
	Host string
	// Port is the port of rank 0's PUB socket; rank n has Port+n. Default: a
	// free one with free ones behind it.
	Port int
	// Connect is the host:port of a subscriber that listens, to which rank 0
	// connects instead of listening itself, and rank n to port + n.
	Connect string
	// HWM is the high-water mark: a subscriber that is so many messages behind
	// loses further ones. Default: 100000, as in vLLM.
	HWM int

	// Replay offers past batches on a ROUTER socket.
	Replay bool
	// ReplayPort is the port of rank 0's ROUTER socket; see Port.
	ReplayPort int
	// ReplayTopic is "yes" if replayed batches have a topic frame (vLLM from
	// 0.26), "no" if not (before, and SGLang). Default: by Encoding.
	ReplayTopic string
	// ReplayHWM is the number of messages of a replay that may wait for the peer;
	// further ones are lost. libzmq's default is 1000. Default here: nothing is
	// lost.
	ReplayHWM int
	// BufferSteps is the number of batches kept for replay. Default: 10000.
	BufferSteps int

	// External also publishes the changes of Config.External, if that is a
	// Reporter, like LMCache's connector: chunks have their own size and names.
	// Not with EventSGLang.
	External bool

	// Sources answers GET /kv_event_sources, as the newest vLLM does.
	Sources bool
}

// withDefaults fills in the defaults that do not depend on the node.
func (c EventsConfig) withDefaults() (EventsConfig, error) {
	if c.Encoding == "" {
		c.Encoding = EventMap
	}
	if c.ReplayTopic == "" {
		c.ReplayTopic = "no"
		if c.Encoding == EventMap {
			c.ReplayTopic = "yes"
		}
	}
	setDefault(&c.HWM, 100000)
	setDefault(&c.BufferSteps, 10000)
	for _, n := range []int{c.HWM, c.BufferSteps} {
		if n < 1 || n > maxBlocks {
			return c, errConfig
		}
	}
	for _, n := range []int{c.Port, c.ReplayPort} {
		if n < 0 || n > 1<<16-maxRanks {
			return c, errConfig
		}
	}
	if _, _, err := net.SplitHostPort(c.Connect); c.Connect != "" && (err != nil || portOf(c.Connect) == 0) {
		return c, errConfig
	}
	known := slices.Contains([]string{EventMap, EventArray, EventSGLang}, c.Encoding) &&
		slices.Contains([]string{"yes", "no"}, c.ReplayTopic)
	if !known || c.ReplayHWM < 0 || c.ReplayHWM > maxBlocks || (c.WideHashes || c.External) && c.Encoding == EventSGLang {
		return c, errConfig
	}
	return c, nil
}

// recorder turns the changes of a rank's cache into events, one batch per step.
// The engine's lock guards it.
type recorder struct {
	cfg     *Config
	events  EventsConfig
	seed    uint64
	pending []kvEvent
	writer  eventWriter
	rank    int
	publish func(payload []byte)
	chunks  map[uint64]chunk // of the external tier; nil: not published
}

func newRecorder(cfg *Config, rank int, publish func([]byte)) *recorder {
	r := &recorder{cfg: cfg, events: *cfg.Events, rank: rank, publish: publish}
	r.writer = eventWriter{encoding: cfg.Events.Encoding, blockTokens: cfg.BlockTokens, wideHashes: cfg.Events.WideHashes}
	if cfg.Events.External {
		r.chunks = make(map[uint64]chunk)
	}
	r.restart()
	return r
}

// restart drops unpublished events and renames all blocks.
func (r *recorder) restart() {
	r.pending = nil
	if r.seed = r.events.Seed; r.seed == 0 {
		r.seed = rand.Uint64()
	}
}

// name returns a block's name in events. It reveals nothing of the content and
// differs between processes.
func (r *recorder) name(hash uint64) uint64 { return mix(hash, r.seed) }

func (r *recorder) names(chain []uint64) []uint64 {
	names := make([]uint64, len(chain))
	for i, hash := range chain {
		names[i] = r.name(hash)
	}
	return names
}

func (r *recorder) stored(j *Job, from, to int) {
	size := r.cfg.BlockTokens
	e := kvEvent{
		kind: blockStored, hashes: r.names(j.Chain[from:to]), root: from == 0,
		lora: j.Adapter, loraID: slices.Index(r.cfg.Models, j.Adapter), salt: j.Salt,
	}
	if from > 0 {
		e.parent = r.name(j.Chain[from-1])
	}
	if len(j.Tokens) >= to*size { // jobs of tests may have none
		e.tokens = j.Tokens[from*size : to*size]
	}
	r.pending = append(r.pending, e)
}

// removed adds one event per block, as in vLLM.
func (r *recorder) removed(hash uint64) {
	r.pending = append(r.pending, kvEvent{kind: blockRemoved, hashes: []uint64{r.name(hash)}})
}

// cleared publishes at once: an idle engine has no next step.
func (r *recorder) cleared() {
	r.pending = append(r.pending, kvEvent{kind: allBlocksCleared})
	r.stepped()
}

func (r *recorder) stepped() {
	if len(r.pending) == 0 {
		return
	}
	now := float64(time.Now().UnixNano()) / 1e9
	r.publish(r.writer.batch(now, r.pending, r.rank))
	clear(r.pending)
	r.pending = r.pending[:0]
}

var _ cacheWatcher = (*recorder)(nil)
