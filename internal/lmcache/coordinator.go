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

	// maxAskedShapes is how many nodes are asked how they keep a model, until
	// one tells.
	maxFormatQueries = 2
)

// CoordinatorOptions are what a Coordinator needs.
type CoordinatorOptions struct {
	// Base is where it is, as http://10.0.0.1:9300.
	Base      *url.URL
	Transport http.RoundTripper // nil: NewTransport()
	Now       func() time.Time  // nil: time.Now
	// Nodes names the LMCache instance of upstreams (host:port) that cannot be
	// told by their address: several engines on one host.
	Nodes map[string]string
	// Resolve returns the addresses of a host. nil: the system's resolver.
	Resolve func(ctx context.Context, host string) ([]string, error)
	// WorldSize is over how many ranks the models are split. 0: a coordinator's
	// nodes are asked, who say so of each model; else 1.
	WorldSize int
	// ChunkTokens is LMCache's chunk size. 0: its nodes are asked; else
	// DefaultChunkTokens.
	ChunkTokens int
}

// Coordinator asks an LMCache coordinator, which knows all nodes by names of
// their own. How they keep a model only they know: a node's status is asked at
// the port it has registered with, on the upstream's own host.
type Coordinator struct {
	options  CoordinatorOptions
	nodes    *nodeNames
	statuses *statuses
}

// NewCoordinator returns a Coordinator.
func NewCoordinator(o CoordinatorOptions) *Coordinator {
	o.setDefaults()
	return &Coordinator{options: o, nodes: newNodeNames(o), statuses: newStatuses(o.Transport, o.Now)}
}

// shape is how the nodes keep a model.
type modelFormat struct {
	model       string
	world       int // ranks
	chunkTokens int
}

// shape returns how the node of an upstream keeps the model of a prefix; told
// is whether it has said so itself.
func (c *Coordinator) format(ctx context.Context, node instance, p *Prefix) (s modelFormat, told bool) {
	var status nodeStatus
	if node.port > 0 {
		status = c.statuses.get(ctx, &url.URL{Scheme: "http", Host: net.JoinHostPort(node.host, strconv.Itoa(node.port))})
	}
	model, world := status.model(p.Model)
	return modelFormat{
		model:       model,
		world:       firstPositive(p.WorldSize, c.options.WorldSize, world),
		chunkTokens: firstPositive(c.options.ChunkTokens, status.chunkTokens, DefaultChunkTokens),
	}, len(status.worldSizes) > 0
}

// shapeAmong is shape for the first of some upstreams that tells. Only a few are
// asked, and together they may take as long as one: those that hang take their
// time.
func (c *Coordinator) formatOfAny(ctx context.Context, upstreams []string, p *Prefix) (s modelFormat) {
	asking, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	s, _ = c.format(ctx, instance{}, p)
	asked := 0
	for _, upstream := range upstreams {
		node, err := c.nodes.node(ctx, upstream, c.listNodes)
		if err != nil {
			continue
		}
		told := false
		if s, told = c.format(asking, node, p); told {
			return s
		}
		if asked++; asked == maxFormatQueries {
			break
		}
	}
	return s
}

func (o *CoordinatorOptions) setDefaults() {
	if o.Transport == nil {
		o.Transport = NewTransport()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Resolve == nil {
		o.Resolve = net.DefaultResolver.LookupHost
	}
}

// Submit asks for POST /cache/prefetches.
func (c *Coordinator) Submit(ctx context.Context, upstream string, p *Prefix) (Job, error) {
	node, err := c.nodes.node(ctx, upstream, c.listNodes)
	if err != nil {
		return Job{}, err
	}
	tokens := p.cut()
	as, _ := c.format(ctx, node, p)
	var j Job
	err = do(ctx, c.options.Transport, request{
		method: http.MethodPost, base: c.options.Base, path: prefetchesPath,
		tokens: stagingBody(quote(node.id), as.model, as.world, tokens, p.Salt),
	}, func(r io.Reader) (err error) {
		j, err = readSubmitted(r, len(tokens))
		return err
	})
	if err == nil && j.ID != "" && j.Node != node.id {
		return Job{}, ErrAnswer
	}
	if err == ErrNotFound {
		c.nodes.forget() // it has another name now, or is gone
	}
	j.Node, j.ChunkTokens = node.id, as.chunkTokens
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
	as := c.formatOfAny(ctx, upstreams, p)
	tokens := p.cut()
	var runs map[string]extent
	err := do(ctx, c.options.Transport, request{
		method: http.MethodPost, base: c.options.Base, path: directoryPath,
		tokens: lookupBody(as.model, as.world, tokens, p.Salt),
	}, func(r io.Reader) (err error) {
		runs, err = readDirectory(r, as.world)
		return err
	})
	if err != nil {
		return nil, err
	}
	shared := runs[""].all
	return c.nodes.holdings(ctx, upstreams, c.listNodes, func(node string) extent {
		held := runs[node]
		held.all = max(held.all, shared)
		held.memory = min(held.memory*as.chunkTokens, len(tokens))
		held.all = min(held.all*as.chunkTokens, len(tokens))
		return held
	})
}

// lookupBody is the question which nodes hold a prefix.
func lookupBody(model string, world int, tokens []uint32, salt string) *tokenBody {
	tail := append([]byte(`],"model_name":`), quote(model)...)
	tail = strconv.AppendInt(append(tail, `,"world_size":`...), int64(world), 10)
	tail = append(append(tail, `,"cache_salt":`...), quote(salt)...)
	tail = append(tail, '}')
	return &tokenBody{head: []byte(`{"token_ids":[`), tail: tail, loan: &tokenLoan{tokens: tokens}}
}

// listed asks for GET /instances.
func (c *Coordinator) listNodes(ctx context.Context) (list []instance, err error) {
	err = do(ctx, c.options.Transport, request{method: http.MethodGet, base: c.options.Base, path: instancesPath}, func(r io.Reader) (err error) {
		list, err = readInstances(r)
		return err
	})
	return list, err
}

// CanLookup returns true.
func (c *Coordinator) CanLookup() bool { return true }

// Close lets connections go.
func (c *Coordinator) Close() { closeIdle(c.options.Transport) }

var _ Client = (*Coordinator)(nil)
