// SPDX-License-Identifier: Apache-2.0

package lmcachesim

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/bauxite/caddy-kvaware/internal/sim/enginesim"
)

// maxTokens bounds the token ids of one request.
const maxTokens = 1_000_000

// NodeConfig describes one node's LMCache.
type NodeConfig struct {
	Sizes
	// WorldSize is the number of ranks of its engine. Default: 1.
	WorldSize int
	// Speed divides the simulated time of a node without an engine. Default: 1.
	Speed float64
	// EngineDriven has the engine move its blocks itself, as LMCache has it on all
	// devices but CUDA. The status lists such engines apart.
	EngineDriven bool
	// ObjectGroups is the number of objects that a chunk of one rank is kept as, for a
	// model with several kinds of layers (--separate-object-groups). Default: 1.
	ObjectGroups int
	// OlderPaths serves status and health at the paths of the first half of 2026.
	OlderPaths bool
}

// Node is a multi-process LMCache server beside one engine. It is safe for
// concurrent use.
type Node struct {
	server
	cfg   NodeConfig
	start time.Time

	state     sync.Mutex // covers the fields below
	store     *store
	clock     func() time.Duration // the engine's; nil: its own
	layouts   map[string]int       // ranks by model
	jobs      map[string]job
	number    int
	stats     Stats
	changes   []enginesim.ExternalChange // since the last call of Changes
	recording bool                       // Changes has been called
}

// job is a staging whose end was not reported yet.
type job struct {
	ready        time.Duration
	found, total int
}

// Stats are counters since the start.
type Stats struct {
	Stagings int // accepted
	Staged   int // chunks found by them
	Loads    int // by the engine, of at least one chunk
	Loaded   int // chunks
	FromDisk int // loaded chunks that were not in memory yet
	Resident int // chunks in memory now
	OnDisk   int // chunks on disk now
}

// StartNode returns a Node that listens on an address, such as 127.0.0.1:0.
func StartNode(address string, cfg NodeConfig) (*Node, error) {
	sizes, err := cfg.Sizes.withDefaults()
	if err != nil {
		return nil, err
	}
	cfg.Sizes = sizes
	setDefault(&cfg.WorldSize, 1)
	setDefault(&cfg.Speed, 1)
	setDefault(&cfg.ObjectGroups, 1)
	if cfg.WorldSize < 1 || cfg.ObjectGroups < 1 || !(cfg.Speed > 0) {
		return nil, errSizes
	}
	n := &Node{cfg: cfg, start: time.Now(), store: newStore(sizes), layouts: make(map[string]int), jobs: make(map[string]job)}
	return n, n.open(address, n.serve)
}

// now returns the simulated time. The caller holds state.
func (n *Node) now() time.Duration {
	if n.clock != nil {
		return n.clock()
	}
	return time.Duration(float64(time.Since(n.start)) * n.cfg.Speed)
}

// Register has a model allocate its KV memory on the node.
func (n *Node) Register(model string) {
	n.state.Lock()
	defer n.state.Unlock()
	n.layouts[model] = n.cfg.WorldSize
}

// Attach gives the node the model and the clock of its engine.
func (n *Node) Attach(model string, now func() time.Duration) {
	n.state.Lock()
	n.clock = now
	n.state.Unlock()
	n.Register(model)
}

// ChunkTokens returns the number of tokens in a chunk.
func (n *Node) ChunkTokens() int { return n.cfg.ChunkTokens }

// Chain returns the hashes of the whole chunks of a prompt.
func (n *Node) Chain(model, salt string, tokens []uint32) []uint64 {
	return n.store.chain(model, salt, tokens) // reads only constant fields
}

// Load has the engine load chunks.
func (n *Node) Load(at time.Duration, chain []uint64, from int) (held int, ready time.Duration) {
	n.state.Lock()
	defer n.state.Unlock()
	held, ready = n.store.load(at, chain, from)
	if held > from {
		n.stats.Loads++
		n.stats.Loaded += held - from
	}
	return held, ready
}

// Store has the engine store chunks.
func (n *Node) Store(at time.Duration, chain []uint64) {
	n.state.Lock()
	defer n.state.Unlock()
	n.store.put(at, chain)
}

// Held returns how many leading tokens of a prompt are in memory, and in any tier.
func (n *Node) Held(model, salt string, tokens []uint32) (memory, all int) {
	n.state.Lock()
	defer n.state.Unlock()
	n.store.settle(n.now())
	memory, all = n.store.leading(n.store.chain(model, salt, tokens))
	return memory * n.cfg.ChunkTokens, all * n.cfg.ChunkTokens
}

// EvictMemory evicts all chunks from memory. Those on disk stay.
func (n *Node) EvictMemory() {
	n.state.Lock()
	defer n.state.Unlock()
	n.store.memory.empty()
}

// maxChanges bounds the changes that wait for a call of Changes.
const maxChanges = 32768

// Changes returns the chunks added and evicted since the last call. The first call
// starts the record.
func (n *Node) Changes() []enginesim.ExternalChange {
	n.state.Lock()
	defer n.state.Unlock()
	if !n.recording {
		n.recording = true
		n.store.memory.changed = func(chunk uint64, gone bool) { n.change(chunk, "CPU", gone) }
		n.store.disk.changed = func(chunk uint64, gone bool) { n.change(chunk, "STORAGE", gone) }
	}
	n.store.settle(n.now())
	changes := n.changes
	n.changes = nil
	return changes
}

func (n *Node) change(chunk uint64, medium string, gone bool) {
	if len(n.changes) < maxChanges {
		n.changes = append(n.changes, enginesim.ExternalChange{Chunk: chunk, Medium: medium, Removed: gone})
	}
}

// Stats returns the counters.
func (n *Node) Stats() Stats {
	n.state.Lock()
	defer n.state.Unlock()
	n.store.settle(n.now())
	s := n.stats
	s.FromDisk = n.store.fromDisk
	s.Resident, s.OnDisk = len(n.store.memory.at), len(n.store.disk.at)
	return s
}

const prefetches = "/cache/prefetches"

func (n *Node) serve(c *call) {
	path := c.r.URL.Path
	prefix := ""
	if n.cfg.OlderPaths {
		prefix = "/api"
	}
	switch c.r.Method + " " + path {
	case "POST " + prefetches:
		n.submit(c)
		return
	case "GET " + prefix + "/status":
		n.status(c)
		return
	case "GET " + prefix + "/healthcheck":
		c.json(http.StatusOK, struct {
			Status string `json:"status"`
		}{"healthy"})
		return
	case "POST /cache/clear":
		n.EvictMemory()
		c.send(http.StatusOK, []byte(`{"status":"ok","cleared":{"tier":"l1"}}`))
		return
	}
	if id, ok := strings.CutPrefix(path, prefetches+"/"); ok && c.r.Method == http.MethodGet {
		n.poll(c, id)
		return
	}
	c.detail(http.StatusNotFound, "Not Found")
}

// order is the body of a request to stage.
type order struct {
	Model  *string   `json:"model_name"`
	World  *int      `json:"world_size"`
	Tokens *[]uint32 `json:"token_ids"`
	Salt   string    `json:"cache_salt"`
	Source *string   `json:"source_tier"`
	Target *string   `json:"target_tier"`
}

func (n *Node) submit(c *call) {
	var o order
	if !c.decode(&o) || c.missing(field{"model_name", o.Model != nil}, field{"world_size", o.World != nil}, field{"token_ids", o.Tokens != nil}) {
		return
	}
	switch source, target := deref(o.Source, "l2"), deref(o.Target, "l1"); {
	case source != "l2" || target != "l1":
		c.detail(http.StatusBadRequest, "unsupported prefetch direction; only 'l2'->'l1'")
		return
	case len(*o.Tokens) > maxTokens:
		c.detail(http.StatusBadRequest, fmt.Sprintf("too many token_ids in a single request (limit=%d, got=%d)", maxTokens, len(*o.Tokens)))
		return
	case strings.Contains(o.Salt, "@"):
		c.detail(http.StatusBadRequest, "cache_salt must not contain '@'")
		return
	}
	n.state.Lock()
	defer n.state.Unlock()
	if n.layouts[*o.Model] != *o.World {
		c.detail(http.StatusServiceUnavailable, "no layout registered; the model has not allocated KV cache on this node yet")
		return
	}
	chain := n.store.chain(*o.Model, o.Salt, *o.Tokens)
	if len(chain) == 0 {
		c.send(http.StatusAccepted, []byte(`{"chunks":0,"status":"noop"}`))
		return
	}
	n.number++
	id := fmt.Sprintf("%032x", n.number)
	n.jobs[id] = n.begin(chain, *o.World, c.lie)
	c.json(http.StatusAccepted, struct {
		ID     string `json:"request_id"`
		Chunks int    `json:"chunks"`
		Status string `json:"status"`
	}{id, len(chain), "submitted"})
}

// begin stages a chain. The caller holds state.
func (n *Node) begin(chain []uint64, ranks int, lie FaultKind) job {
	now := n.now()
	total := len(chain) * ranks * n.cfg.ObjectGroups
	j := job{ready: now, found: total, total: total}
	if lie == Lie {
		return j
	}
	found, ready := n.store.stage(now, chain)
	j.found, j.ready = found*ranks*n.cfg.ObjectGroups, ready
	n.stats.Stagings++
	n.stats.Staged += found
	return j
}

func (n *Node) poll(c *call, id string) {
	n.state.Lock()
	defer n.state.Unlock()
	j, ok := n.jobs[id]
	if !ok {
		c.detail(http.StatusNotFound, "unknown prefetch request_id (already completed or never submitted)")
		return
	}
	if c.lie == Forever || n.now() < j.ready {
		c.json(http.StatusOK, struct {
			ID     string `json:"request_id"`
			Status string `json:"status"`
		}{id, "pending"})
		return
	}
	delete(n.jobs, id)
	if c.lie == Miscount {
		j.found = 2*j.total + 1
	}
	c.json(http.StatusOK, struct {
		ID     string `json:"request_id"`
		Status string `json:"status"`
		Found  int    `json:"found_keys"`
		Total  int    `json:"total_keys"`
	}{id, "completed", j.found, j.total})
}

// layout is one engine in the status.
type layout struct {
	Model string `json:"model_name"`
	World int    `json:"world_size"`
}

func (n *Node) status(c *call) {
	n.state.Lock()
	defer n.state.Unlock()
	contexts := make(map[string]layout)
	ids := []int{}
	for model, world := range n.layouts {
		contexts[fmt.Sprint(len(ids))] = layout{model, world}
		ids = append(ids, len(ids))
	}
	type older struct {
		Contexts map[string]layout `json:"gpu_context_meta"`
	}
	type newer struct {
		Contexts     map[string]layout `json:"cache_context_meta"`
		EngineIDs    []int             `json:"registered_non_cuda_instance_ids"`
		EngineDriven map[string]layout `json:"non_cuda_context_meta"`
	}
	answer := struct {
		Healthy bool   `json:"is_healthy"`
		Engine  string `json:"engine_type"`
		Chunk   int    `json:"chunk_size"`
		Hash    string `json:"hash_algorithm"`
		IDs     []int  `json:"registered_gpu_ids"`
		*older
		*newer
		Jobs int `json:"active_prefetch_jobs"`
	}{true, "MPCacheServer", n.cfg.ChunkTokens, "blake3", ids, nil, nil, len(n.jobs)}
	switch none := map[string]layout{}; {
	case n.cfg.OlderPaths:
		answer.Engine, answer.Hash, answer.older = "MPCacheEngine", "builtin", &older{contexts}
	case n.cfg.EngineDriven:
		answer.IDs, answer.newer = []int{}, &newer{none, ids, contexts}
	default:
		answer.newer = &newer{contexts, []int{}, none}
	}
	c.json(http.StatusOK, answer)
}

func deref(s *string, missing string) string {
	if s == nil {
		return missing
	}
	return *s
}

var _ enginesim.Reporter = (*Node)(nil)
