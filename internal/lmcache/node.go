// SPDX-License-Identifier: Apache-2.0

package lmcache

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

const prefetchesPath = "/cache/prefetches"

// NodeOptions are the parts of a Node.
type NodeOptions struct {
	// Base returns the base URL of the LMCache server beside an upstream, such as
	// http://10.0.0.7:8080, or nil when there is none. It must return the same URL for
	// the same upstream.
	Base      func(upstream string) *url.URL
	Transport http.RoundTripper // nil: NewTransport()
	Now       func() time.Time  // nil: time.Now
}

// Node asks the LMCache multi-process server beside each upstream. It tries both
// paths that the status has had. In its first weeks staging was at POST /l2/prefetch:
// a node that old answers 404 and is left alone.
//
// It cannot look up: a node knows nothing of the others, and does not report which
// prefixes it holds.
type Node struct {
	options  NodeOptions
	statuses *statuses
}

// NewNode returns a Node.
func NewNode(o NodeOptions) *Node {
	if o.Transport == nil {
		o.Transport = NewTransport()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Node{options: o, statuses: newStatuses(o.Transport, o.Now)}
}

// Submit sends POST /cache/prefetches. It gets the node's status first if that is not
// known, for the model's number of ranks.
func (n *Node) Submit(ctx context.Context, upstream string, p *Prefix) (Job, error) {
	base := n.options.Base(upstream)
	if base == nil {
		return Job{}, ErrUnmapped
	}
	status := n.statuses.get(ctx, base)
	model, world := status.model(p.Model)
	tokens := p.cut()
	var j Job
	err := do(ctx, n.options.Transport, request{
		method: http.MethodPost, base: base, path: prefetchesPath, order: true,
		tokens: stagingBody(nil, model, world, tokens, p.Salt),
	}, func(r io.Reader) (err error) {
		j, err = readSubmitted(r, len(tokens))
		return err
	})
	if err == ErrNoLayout {
		n.statuses.expire(base) // the engine has started since, or its model has another name
	}
	j.ChunkTokens = status.chunkSize()
	return j, err
}

// Poll sends GET /cache/prefetches/ID.
func (n *Node) Poll(ctx context.Context, upstream string, j Job) (p Progress, err error) {
	base := n.options.Base(upstream)
	if base == nil {
		return p, ErrUnmapped
	}
	err = do(ctx, n.options.Transport, request{
		method: http.MethodGet, base: base, path: prefetchesPath + "/" + url.PathEscape(j.ID),
	}, func(r io.Reader) (err error) {
		p, err = readProgress(r, j.ID)
		return err
	})
	return p, err
}

// ChunkTokens gets the node's status, if that is not known.
func (n *Node) ChunkTokens(ctx context.Context, upstream string) (int, error) {
	base := n.options.Base(upstream)
	if base == nil {
		return 0, ErrUnmapped
	}
	return n.statuses.chunkTokens(ctx, base)
}

// Lookup returns ErrUnsupported.
func (n *Node) Lookup(context.Context, *Prefix, []string) ([]Holding, error) {
	return nil, ErrUnsupported
}

// CanLookup returns false.
func (n *Node) CanLookup() bool { return false }

// Close closes idle connections.
func (n *Node) Close() { closeIdle(n.options.Transport) }

// stagingBody returns the body of an order. node is set for a coordinator.
func stagingBody(node []byte, model string, world int, tokens []uint32, salt string) *tokenBody {
	head := []byte{'{'}
	if node != nil {
		head = append(append(append(head, `"instance_id":`...), node...), ',')
	}
	head = append(append(head, `"model_name":`...), quote(model)...)
	head = strconv.AppendInt(append(head, `,"world_size":`...), int64(world), 10)
	head = append(head, `,"token_ids":[`...)
	tail := append([]byte(`],"cache_salt":`), quote(salt)...)
	tail = append(tail, `,"source_tier":"l2","target_tier":"l1"}`...)
	return &tokenBody{head: head, tail: tail, loan: &tokenLoan{tokens: tokens}}
}

func closeIdle(t http.RoundTripper) {
	if t, ok := t.(interface{ CloseIdleConnections() }); ok {
		t.CloseIdleConnections()
	}
}

var _ Client = (*Node)(nil)
