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

	// maxFormatQueries bounds the nodes that are asked for a model's format.
	maxFormatQueries = 2
)

// CoordinatorOptions are the parts of a Coordinator.
type CoordinatorOptions struct {
	// Base is its base URL, such as http://10.0.0.1:9300.
	Base      *url.URL
	Transport http.RoundTripper // nil: NewTransport()
	Now       func() time.Time  // nil: time.Now
	// Resolve returns the addresses of a host. nil: the system's resolver.
	Resolve func(ctx context.Context, host string) ([]string, error)
}

// Coordinator asks an LMCache coordinator, which knows all nodes by names of its own.
// It does not know the nodes' model formats. The nodes are asked for those, at the
// port that each has registered with, on the upstream's host.
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

// modelFormat describes a model on its nodes. The defaults for nodes that do not
// answer: the request's name, one rank, chunks of DefaultChunkTokens.
type modelFormat struct {
	model       string // its name there
	world       int    // ranks
	chunkTokens int
}

// format returns the format of a prefix's model on a node. reported says that the
// node itself has answered.
func (c *Coordinator) format(ctx context.Context, node instance, p *Prefix) (f modelFormat, reported bool) {
	var status nodeStatus
	if node.port > 0 {
		status = c.statuses.get(ctx, node.base())
	}
	model, world := status.model(p.Model)
	return modelFormat{model, world, status.chunkSize()}, len(status.worldSizes) > 0
}

// base returns the URL of the node's own API.
func (i instance) base() *url.URL {
	return &url.URL{Scheme: "http", Host: net.JoinHostPort(i.host, strconv.Itoa(i.port))}
}

// formatOfAny returns the format of the first of some upstreams that answers. It asks
// only a few, and gives all of them together the time of one, as some may hang.
func (c *Coordinator) formatOfAny(ctx context.Context, upstreams []string, p *Prefix) (f modelFormat) {
	asking, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	f, _ = c.format(ctx, instance{}, p)
	asked := 0
	for _, upstream := range upstreams {
		node, err := c.nodes.node(ctx, upstream, c.listNodes)
		if err != nil {
			continue
		}
		reported := false
		if f, reported = c.format(asking, node, p); reported {
			return f
		}
		if asked++; asked == maxFormatQueries {
			break
		}
	}
	return f
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

// Submit sends POST /cache/prefetches.
func (c *Coordinator) Submit(ctx context.Context, upstream string, p *Prefix) (Job, error) {
	node, err := c.nodes.node(ctx, upstream, c.listNodes)
	if err != nil {
		return Job{}, err
	}
	tokens := p.cut()
	f, _ := c.format(ctx, node, p)
	var j Job
	err = do(ctx, c.options.Transport, request{
		method: http.MethodPost, base: c.options.Base, path: prefetchesPath, order: true, passed: true,
		tokens: stagingBody(quote(node.id), f.model, f.world, tokens, p.Salt),
	}, func(r io.Reader) (err error) {
		j, err = readSubmitted(r, len(tokens))
		return err
	})
	if err == nil && j.ID != "" && j.Node != node.id {
		return Job{}, ErrAnswer
	}
	switch err {
	case ErrNotFound:
		c.nodes.forget() // the node has another name now, or is gone
	case ErrNoLayout:
		c.statuses.expire(node.base()) // as in Node.Submit
	}
	j.Node, j.ChunkTokens = node.id, f.chunkTokens
	return j, err
}

// Poll sends GET /cache/prefetches/NODE/ID.
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

// ChunkTokens gets the status of the upstream's node, if that is not known.
func (c *Coordinator) ChunkTokens(ctx context.Context, upstream string) (int, error) {
	node, err := c.nodes.node(ctx, upstream, c.listNodes)
	if err != nil {
		return 0, err
	}
	if node.port == 0 {
		return 0, ErrUnmapped
	}
	return c.statuses.chunkTokens(ctx, node.base())
}

// Lookup sends POST /directory/lookup. The answer is up to about a second old, and
// covers only nodes that report their events to the coordinator.
func (c *Coordinator) Lookup(ctx context.Context, p *Prefix, upstreams []string) ([]Holding, error) {
	f := c.formatOfAny(ctx, upstreams, p)
	tokens := p.cut()
	var extents map[string]extent
	err := do(ctx, c.options.Transport, request{
		method: http.MethodPost, base: c.options.Base, path: directoryPath,
		tokens: lookupBody(f.model, f.world, tokens, p.Salt),
	}, func(r io.Reader) (err error) {
		extents, err = readDirectory(r, f.world)
		return err
	})
	if err != nil {
		return nil, err
	}
	shared := extents[""].all
	return c.nodes.holdings(ctx, upstreams, c.listNodes, func(node string) Holding {
		held := extents[node]
		storage := max(held.all, shared) * f.chunkTokens
		return Holding{
			Memory:  min(held.memory*f.chunkTokens, len(tokens)),
			Storage: min(storage, len(tokens)),
			Whole:   storage+f.chunkTokens > len(tokens),
		}
	})
}

// lookupBody returns the body of a lookup.
func lookupBody(model string, world int, tokens []uint32, salt string) *tokenBody {
	tail := append([]byte(`],"model_name":`), quote(model)...)
	tail = strconv.AppendInt(append(tail, `,"world_size":`...), int64(world), 10)
	tail = append(append(tail, `,"cache_salt":`...), quote(salt)...)
	tail = append(tail, '}')
	return &tokenBody{head: []byte(`{"token_ids":[`), tail: tail, loan: &tokenLoan{tokens: tokens}}
}

// listNodes sends GET /instances.
func (c *Coordinator) listNodes(ctx context.Context) (list []instance, err error) {
	err = do(ctx, c.options.Transport, request{method: http.MethodGet, base: c.options.Base, path: instancesPath}, func(r io.Reader) (err error) {
		list, err = readInstances(r)
		return err
	})
	return list, err
}

// CanLookup returns true.
func (c *Coordinator) CanLookup() bool { return true }

// Close closes idle connections.
func (c *Coordinator) Close() { closeIdle(c.options.Transport) }

var _ Client = (*Coordinator)(nil)
