// SPDX-License-Identifier: Apache-2.0

package lmcachesim

import (
	"fmt"
	"net/http"
	"sync/atomic"
)

// Controller is the legacy controller of a fleet whose engines have LMCache in
// their own process. It knows no models and no salts: it looks for chunks of
// one model without a salt.
type Controller struct {
	server
	model  string
	nodes  []member
	events atomic.Int64
}

// Instance is a node as a legacy controller knows it.
type Instance struct {
	ID string
	IP string
	*Node
}

// StartController returns a Controller that listens on an address, such as
// 127.0.0.1:0.
func StartController(address, model string, nodes ...Instance) (*Controller, error) {
	c := &Controller{model: model}
	for _, i := range nodes {
		c.nodes = append(c.nodes, member{id: i.ID, host: i.IP, node: i.Node})
	}
	return c, c.open(address, c.serve)
}

// Where chunks are, in the legacy controller's words.
const (
	inMemory = "LocalCPUBackend"
	onDisk   = "LocalDiskBackend"
)

// command is the union of the requests' fields.
type command struct {
	Event    string   `json:"event_id"`
	IP       string   `json:"ip"`
	Node     string   `json:"instance_id"`
	Location string   `json:"location"`
	Tokens   []uint32 `json:"tokens"`
	From     []string `json:"old_position"`
	To       []string `json:"new_position"`
	Copy     bool     `json:"copy"`
}

func (c *Controller) serve(q *call) {
	if q.r.Method != http.MethodPost {
		q.detail(http.StatusMethodNotAllowed, "Method Not Allowed")
		return
	}
	var o command
	if !q.decode(&o) {
		return
	}
	switch q.r.URL.Path {
	case "/lookup":
		c.lookup(q, o.Tokens)
	case "/query_instance":
		c.query(q, &o)
	case "/move":
		c.moved(q, c.move(&o))
	case "/pin", "/compress":
		c.moved(q, c.held(o.Node, o.Location, o.Tokens))
	case "/clear":
		c.moved(q, c.clear(&o))
	case "/health":
		q.json(http.StatusOK, struct {
			Event string `json:"event_id"`
			Code  int    `json:"error_code"`
		}{c.event("health"), 0})
	case "/check_finish":
		q.send(http.StatusOK, []byte(`{"status":"finished"}`))
	default:
		q.detail(http.StatusNotFound, "Not Found")
	}
}

func (c *Controller) event(kind string) string { return fmt.Sprintf("%s%032x", kind, c.events.Add(1)) }

// lookup tells of one place for each node that holds the beginning.
func (c *Controller) lookup(q *call, tokens []uint32) {
	layout := make(map[string][2]any)
	for _, m := range c.nodes {
		memory, all := m.node.Held(c.model, "", tokens)
		switch {
		case memory > 0:
			layout[m.id] = [2]any{inMemory, memory}
		case all > 0:
			layout[m.id] = [2]any{onDisk, all}
		}
	}
	q.json(http.StatusOK, struct {
		Event  string            `json:"event_id"`
		Layout map[string][2]any `json:"layout_info"`
	}{c.event("Lookup"), layout})
}

func (c *Controller) query(q *call, o *command) {
	var found *string
	for _, m := range c.nodes {
		if m.host == o.IP {
			found = &m.id
			break
		}
	}
	q.json(http.StatusOK, struct {
		Event string  `json:"event_id"`
		Node  *string `json:"res"`
	}{o.Event, found})
}

func (c *Controller) moved(q *call, tokens int) {
	q.json(http.StatusOK, struct {
		Event  string `json:"event_id"`
		Tokens int    `json:"num_tokens"`
	}{c.event("event"), tokens})
}

func (c *Controller) node(id string) *Node {
	for _, m := range c.nodes {
		if m.id == id {
			return m.node
		}
	}
	return nil
}

// held returns how many leading tokens are at a place. Nothing is loaded.
func (c *Controller) held(id, location string, tokens []uint32) int {
	n := c.node(id)
	if n == nil {
		return 0
	}
	memory, all := n.Held(c.model, "", tokens)
	if location == inMemory {
		return memory
	}
	return all
}

// move copies from one node's memory to another's, and nothing else: from disk
// to memory on the same node it moves nothing.
func (c *Controller) move(o *command) int {
	if len(o.From) != 2 || len(o.To) != 2 || o.From[1] != inMemory || o.To[1] != inMemory || o.From[0] == o.To[0] {
		return 0
	}
	from, to := c.node(o.From[0]), c.node(o.To[0])
	if from == nil || to == nil {
		return 0
	}
	tokens, _ := from.Held(c.model, "", o.Tokens)
	chain := to.Chain(c.model, "", o.Tokens[:tokens])
	to.state.Lock()
	defer to.state.Unlock()
	for _, chunk := range chain {
		to.store.memory.put(chunk)
	}
	return tokens
}

func (c *Controller) clear(o *command) int {
	n := c.node(o.Node)
	if n == nil {
		return 0
	}
	n.state.Lock()
	defer n.state.Unlock()
	which := n.store.memory
	if o.Location == onDisk {
		which = n.store.disk
	}
	tokens := len(which.at) * n.cfg.ChunkTokens
	which.clear()
	return tokens
}
