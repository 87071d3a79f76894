// SPDX-License-Identifier: Apache-2.0

package lmcache

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

const (
	directoryPath = "/directory/lookup"
	instancesPath = "/instances"
)

// FleetOptions are what a Coordinator or a Controller needs.
type FleetOptions struct {
	// Base is where it is, as http://10.0.0.1:9300.
	Base      *url.URL
	Transport http.RoundTripper // nil: NewTransport()
	Now       func() time.Time  // nil: time.Now
	// Nodes names the LMCache instance of upstreams (host:port) that cannot be
	// told by their address: several engines on one host.
	Nodes map[string]string
	// Resolve returns the addresses of a host. nil: the system's resolver.
	Resolve func(ctx context.Context, host string) ([]string, error)
	// WorldSize is over how many ranks the models are split. 0: 1.
	WorldSize int
	// ChunkTokens is LMCache's chunk size. 0: DefaultChunkTokens.
	ChunkTokens int
}

// Coordinator asks an LMCache coordinator, which knows all nodes by names of
// their own.
type Coordinator struct {
	options FleetOptions
	nodes   *nodeNames
}

// NewCoordinator returns a Coordinator.
func NewCoordinator(o FleetOptions) *Coordinator {
	o.setDefaults()
	return &Coordinator{options: o, nodes: newNodeNames(o)}
}

func (o *FleetOptions) setDefaults() {
	if o.Transport == nil {
		o.Transport = NewTransport()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Resolve == nil {
		o.Resolve = net.DefaultResolver.LookupHost
	}
	if o.WorldSize <= 0 {
		o.WorldSize = 1
	}
	if o.ChunkTokens <= 0 {
		o.ChunkTokens = DefaultChunkTokens
	}
}

// Submit asks for POST /cache/prefetches.
func (c *Coordinator) Submit(ctx context.Context, upstream string, p *Prefix) (Job, error) {
	node, err := c.nodes.node(ctx, upstream, c.listed)
	if err != nil {
		return Job{}, err
	}
	tokens := p.cut()
	var j Job
	err = do(ctx, c.options.Transport, request{
		method: http.MethodPost, base: c.options.Base, path: prefetchesPath,
		tokens: stagingBody(quote(node), p.Model, firstPositive(p.WorldSize, c.options.WorldSize), tokens, p.Salt),
	}, func(r io.Reader) (err error) {
		j, err = readSubmitted(r, len(tokens))
		return err
	})
	if err == nil && j.ID != "" && j.Node != node {
		return Job{}, ErrAnswer
	}
	if err == ErrNotFound {
		c.nodes.forget() // it has another name now, or is gone
	}
	j.Node, j.ChunkTokens = node, c.options.ChunkTokens
	return j, err
}

// Poll asks for GET /cache/prefetches/NODE/ID.
func (c *Coordinator) Poll(ctx context.Context, _ string, j Job) (p Progress, err error) {
	err = do(ctx, c.options.Transport, request{
		method: http.MethodGet, base: c.options.Base,
		path: prefetchesPath + "/" + url.PathEscape(j.Node) + "/" + url.PathEscape(j.ID),
	}, func(r io.Reader) (err error) {
		p, err = readProgress(r, j.ID)
		return err
	})
	return p, err
}

// Lookup asks for POST /directory/lookup. What it tells is up to a second or
// so behind, and needs every node to report its events to the coordinator.
func (c *Coordinator) Lookup(ctx context.Context, p *Prefix, upstreams []string) ([]Holding, error) {
	ranks := firstPositive(p.WorldSize, c.options.WorldSize)
	tokens := p.cut()
	var runs map[string]run
	err := do(ctx, c.options.Transport, request{
		method: http.MethodPost, base: c.options.Base, path: directoryPath,
		tokens: lookupBody(p.Model, ranks, tokens, p.Salt),
	}, func(r io.Reader) (err error) {
		runs, err = readDirectory(r, ranks)
		return err
	})
	if err != nil {
		return nil, err
	}
	shared := runs[""].any
	return c.nodes.holdings(ctx, upstreams, c.listed, func(node string) run {
		held := runs[node]
		held.any = max(held.any, shared)
		held.memory = min(held.memory*c.options.ChunkTokens, len(tokens))
		held.any = min(held.any*c.options.ChunkTokens, len(tokens))
		return held
	})
}

// lookupBody is the question which nodes hold a prefix.
func lookupBody(model string, world int, tokens []uint32, salt string) *tokenBody {
	tail := append([]byte(`],"model_name":`), quote(model)...)
	tail = strconv.AppendInt(append(tail, `,"world_size":`...), int64(world), 10)
	tail = append(append(tail, `,"cache_salt":`...), quote(salt)...)
	tail = append(tail, '}')
	return &tokenBody{head: []byte(`{"token_ids":[`), tail: tail, lease: &lease{tokens: tokens}}
}

// listed asks for GET /instances.
func (c *Coordinator) listed(ctx context.Context) (list []instance, err error) {
	err = do(ctx, c.options.Transport, request{method: http.MethodGet, base: c.options.Base, path: instancesPath}, func(r io.Reader) (err error) {
		list, err = readInstances(r)
		return err
	})
	return list, err
}

// Can tells that a coordinator does both.
func (c *Coordinator) Can() (stage, look bool) { return true, true }

// Close lets connections go.
func (c *Coordinator) Close() { closeIdle(c.options.Transport) }

var _ Client = (*Coordinator)(nil)
