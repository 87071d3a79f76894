// SPDX-License-Identifier: Apache-2.0

package lmcachesim

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Coordinator is the server that knows all nodes of a fleet. It is safe for
// concurrent use.
type Coordinator struct {
	server
	client *http.Client

	fleet   sync.Mutex
	nodes   []member              // in the order of their registration
	reports map[string]nodeReport // by node id; nil: the directory is never behind
	stop    chan struct{}         // closed by Close
	closed  sync.Once
	ticks   sync.WaitGroup
}

// nodeReport holds the chunks of a node when it last reported.
type nodeReport struct{ memory, disk map[uint64]bool }

// member is a node that has registered.
type member struct {
	id   string
	host string
	port int
	node *Node
	at   time.Time
}

// proxyTimeout bounds the coordinator's wait for a node.
const proxyTimeout = 5 * time.Second

// StartCoordinator returns a Coordinator without nodes that listens on an address,
// such as 127.0.0.1:0.
func StartCoordinator(address string) (*Coordinator, error) {
	c := &Coordinator{client: &http.Client{Timeout: proxyTimeout}, stop: make(chan struct{})}
	return c, c.open(address, c.serve)
}

// ReportEvery has the nodes report their chunks at an interval, as LMCache's do each
// second. Between reports the directory is behind. It may be called once.
func (c *Coordinator) ReportEvery(d time.Duration) {
	c.report()
	c.ticks.Go(func() {
		tick := time.NewTicker(d)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				c.report()
			case <-c.stop:
				return
			}
		}
	})
}

func (c *Coordinator) report() {
	reports := make(map[string]nodeReport)
	for _, m := range c.members() {
		m.node.state.Lock()
		m.node.store.settle(m.node.now())
		reports[m.id] = nodeReport{m.node.store.memory.all(), m.node.store.disk.all()}
		m.node.state.Unlock()
	}
	c.fleet.Lock()
	defer c.fleet.Unlock()
	c.reports = reports
}

// Close ends all connections.
func (c *Coordinator) Close() {
	c.closed.Do(func() { close(c.stop) })
	c.ticks.Wait()
	c.server.Close()
}

// tiersOf reports whether a node has a chunk in memory and on disk, as the node has
// reported.
func (c *Coordinator) tiersOf(m *member, chunk uint64) (memory, disk bool) {
	c.fleet.Lock()
	reports := c.reports
	c.fleet.Unlock()
	if reports != nil {
		r := reports[m.id]
		return r.memory[chunk], r.disk[chunk]
	}
	m.node.state.Lock()
	defer m.node.state.Unlock()
	m.node.store.settle(m.node.now())
	return m.node.store.memory.has(chunk), m.node.store.disk.has(chunk)
}

// Register adds a node, or replaces one of the same name.
func (c *Coordinator) Register(id string, n *Node) {
	host, port, _ := net.SplitHostPort(n.Addr()) // cannot fail: it listens there
	number, _ := strconv.Atoi(port)
	c.Deregister(id)
	c.fleet.Lock()
	defer c.fleet.Unlock()
	c.nodes = append(c.nodes, member{id, host, number, n, time.Now()})
}

// Deregister removes a node.
func (c *Coordinator) Deregister(id string) {
	c.fleet.Lock()
	defer c.fleet.Unlock()
	kept := c.nodes[:0:0]
	for _, m := range c.nodes {
		if m.id != id {
			kept = append(kept, m)
		}
	}
	c.nodes = kept
}

func (c *Coordinator) members() []member {
	c.fleet.Lock()
	defer c.fleet.Unlock()
	return append([]member(nil), c.nodes...)
}

func (c *Coordinator) member(id string) *member {
	for _, m := range c.members() {
		if m.id == id {
			return &m
		}
	}
	return nil
}

func (c *Coordinator) serve(q *call) {
	switch q.r.Method + " " + q.r.URL.Path {
	case "GET /instances":
		c.instances(q)
		return
	case "GET /healthz":
		q.send(http.StatusOK, []byte(`{"status":"ok"}`))
		return
	case "POST " + prefetches:
		c.submit(q)
		return
	case "POST /directory/lookup":
		c.lookup(q)
		return
	}
	if rest, ok := strings.CutPrefix(q.r.URL.EscapedPath(), prefetches+"/"); ok && q.r.Method == http.MethodGet {
		if node, id, ok := strings.Cut(rest, "/"); ok {
			c.poll(q, node, id)
			return
		}
	}
	q.detail(http.StatusNotFound, "Not Found")
}

func (c *Coordinator) instances(q *call) {
	type instance struct {
		ID       string            `json:"instance_id"`
		IP       string            `json:"ip"`
		Port     int               `json:"http_port"`
		At       float64           `json:"registration_time"`
		Metadata map[string]string `json:"metadata"`
		P2P      string            `json:"p2p_advertised_url"`
		MQ       int               `json:"mq_port"`
	}
	list := []instance{}
	for _, m := range c.members() {
		list = append(list, instance{m.id, m.host, m.port, float64(m.at.UnixMilli()) / 1000, map[string]string{}, "", 0})
	}
	q.json(http.StatusOK, map[string]any{"instances": list})
}

// submit forwards an order to its node.
func (c *Coordinator) submit(q *call) {
	var o struct {
		order
		Node *string `json:"instance_id"`
	}
	if !q.decode(&o) || q.missing(field{"instance_id", o.Node != nil}, field{"model_name", o.Model != nil}, field{"world_size", o.World != nil}) {
		return
	}
	m := c.member(*o.Node)
	if m == nil {
		q.detail(http.StatusNotFound, "no MP server registered with that instance_id")
		return
	}
	if o.Tokens == nil {
		o.Tokens = new([]uint32)
	}
	passed, _ := json.Marshal(map[string]any{ // cannot fail: it was decoded above
		"model_name": *o.Model, "world_size": *o.World, "token_ids": *o.Tokens, "cache_salt": o.Salt,
	})
	answer, err := c.client.Post(m.node.URL()+prefetches, "application/json", bytes.NewReader(passed))
	var a struct {
		ID     string `json:"request_id"`
		Chunks int    `json:"chunks"`
		Status string `json:"status"`
	}
	if err == nil {
		defer answer.Body.Close()
		if err = refusal(answer, m.node.URL()+prefetches); err == nil {
			err = json.NewDecoder(answer.Body).Decode(&a)
		}
	}
	if err != nil {
		q.detail(http.StatusBadGateway, fmt.Sprintf("prefetch submit to '%s' failed: %v", m.id, err))
		return
	}
	q.json(http.StatusOK, struct {
		Node   string `json:"instance_id"`
		ID     string `json:"request_id"`
		Chunks int    `json:"chunks"`
		Status string `json:"status"`
	}{m.id, a.ID, a.Chunks, a.Status})
}

// refusal returns the error of a node's answer, as the coordinator's HTTP client words it.
func refusal(answer *http.Response, url string) error {
	kind := "Client"
	switch {
	case answer.StatusCode < 300:
		return nil
	case answer.StatusCode >= 500:
		kind = "Server"
	}
	return fmt.Errorf("%s error '%d %s' for url '%s'\nFor more information check: https://developer.mozilla.org/en-US/docs/Web/HTTP/Status/%d",
		kind, answer.StatusCode, http.StatusText(answer.StatusCode), url, answer.StatusCode)
}

// poll forwards a poll to its node.
func (c *Coordinator) poll(q *call, node, id string) {
	name, err := url.PathUnescape(node)
	m := c.member(name)
	if err != nil || m == nil {
		q.detail(http.StatusNotFound, "no MP server registered with that instance_id")
		return
	}
	answer, err := c.client.Get(m.node.URL() + prefetches + "/" + id)
	if err != nil {
		q.detail(http.StatusBadGateway, "prefetch status from the instance failed")
		return
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxBody))
	if err != nil {
		q.detail(http.StatusBadGateway, "prefetch status from the instance failed")
		return
	}
	q.send(answer.StatusCode, body)
}

// The answer to a directory lookup.
type (
	encodedKey struct {
		Hash  string `json:"chunk_hash_hex"`
		Model string `json:"model_name"`
		Rank  int    `json:"kv_rank"`
		Group int    `json:"object_group_id"`
		Salt  string `json:"cache_salt"`
	}
	placement struct {
		Node        string `json:"instance_id"`
		Incarnation int    `json:"incarnation"`
		Tier        string `json:"tier"`
		Backend     string `json:"backend"`
		Bytes       int    `json:"size_bytes"`
		Shared      bool   `json:"shared"`
	}
	placements struct {
		Key    encodedKey  `json:"key"`
		Places []placement `json:"placements"`
		Tokens []uint32    `json:"token_ids"`
	}
)

// bytesPerToken is the KV size of a model with 8 billion parameters.
const bytesPerToken = 128 << 10

func (c *Coordinator) lookup(q *call) {
	var o order
	if !q.decode(&o) {
		return
	}
	if o.Tokens == nil || o.Model == nil {
		q.invalid(invalid{Kind: "value_error", Where: []any{"body"}, What: "Value error, exactly one of keys and token_ids"})
		return
	}
	if len(*o.Tokens) > maxTokens {
		q.detail(http.StatusBadRequest, "too many token_ids in a single request")
		return
	}
	ranks := 1
	if o.World != nil {
		ranks = *o.World
	}
	members := c.members()
	results := []placements{}
	chunks := 0
	if len(members) > 0 && ranks >= 1 {
		size := members[0].node.cfg.ChunkTokens // the same everywhere, or the answers are wrong
		chain := members[0].node.Chain(*o.Model, o.Salt, *o.Tokens)
		chunks = len(chain)
		for i, chunk := range chain {
			places := c.place(members, chunk, size*bytesPerToken/ranks)
			tokens := []uint32{}
			if len(places) > 0 {
				tokens = (*o.Tokens)[i*size : (i+1)*size]
			}
			groups := members[0].node.cfg.ObjectGroups
			if len(places) == 0 {
				groups = 1 // the others are not known then
			}
			for n := range ranks * groups {
				results = append(results, placements{encodedKey{fmt.Sprintf("%016x", chunk), *o.Model, n / groups, n % groups, o.Salt}, places, tokens})
			}
		}
	}
	q.json(http.StatusOK, struct {
		Chunks  int          `json:"chunks"`
		Results []placements `json:"results"`
	}{chunks, results})
}

// place returns the places of a chunk.
func (c *Coordinator) place(members []member, chunk uint64, bytes int) []placement {
	list := []placement{}
	for _, m := range members {
		memory, disk := c.tiersOf(&m, chunk)
		if memory {
			list = append(list, placement{m.id, 1, "l1", "cpu", bytes, false})
		}
		if disk {
			list = append(list, placement{m.id, 1, "l2", "fs", bytes, false})
		}
	}
	return list
}
