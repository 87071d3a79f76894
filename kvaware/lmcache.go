// SPDX-License-Identifier: Apache-2.0

package kvaware

import (
	"bytes"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/bauxite/caddy-kvaware/internal/endpoint"
	"github.com/bauxite/caddy-kvaware/internal/following"
	"github.com/bauxite/caddy-kvaware/internal/lmcache"
	"github.com/bauxite/caddy-kvaware/internal/routing"
	"github.com/bauxite/caddy-kvaware/internal/staging"
	"github.com/bauxite/caddy-kvaware/janitor"
)

// maxStagingWait bounds `wait`.
const maxStagingWait = time.Minute

// LMCache configures staging: LMCache brings a prompt's KV blocks from disk or remote
// storage up to the node's CPU memory while the request is on its way. Only the engine
// itself can fill its GPU, when it schedules the request.
//
// A prompt is staged at the upstream that it goes to if that upstream or another one
// had part of it before, the GPU is not expected to hold that part any more, and the
// staging will end before the engine schedules the request: while the request waits
// in the engine's queue, or is held (`wait`). A prompt is also staged at an upstream
// that takes over from one that has failed or cannot be picked any more, and, when an
// answer ends in tool calls, for the next turn of that conversation. The contents of
// GPU, CPU memory and disk are known by the policy's `events`; without those they are
// predicted from the prompts that were sent, the engine's capacity and the cached
// tokens that answers report.
//
// A coordinator is also asked which nodes hold a prompt: two seconds after its answer,
// when the nodes have reported. For a minute the next turn's routing counts these
// blocks by the weights of the tiers (see `events`). It also counts, for less, blocks
// that an upstream's GPU has evicted, or lost in a restart.
//
// Engines report as cached also what LMCache gives them, so the predicted cached tokens
// include it: what is known or was sent there before, until answers refute it.
//
// LMCache needs a prompt's tokens, which engines report (see `tokenize`).
//
// Give either `address` or `coordinator`.
type LMCache struct {
	// The URL of each node's LMCache server (multi-process mode), such as
	// `http://{http.reverse_proxy.upstream.host}:8080`, with the same placeholders and
	// relative ports as `events`.
	Address string `json:"address,omitempty"`

	// The URL of the coordinator that knows all nodes, in place of `address`. A node
	// must have registered with its upstream's IP address, and be the only one there. It
	// is asked at the port that it has registered with for the name and the number of
	// ranks of a model.
	Coordinator string `json:"coordinator,omitempty"`

	// How long a request may be held for its staging, the fetching of its tokens
	// included, at most 1m. A request is held for less time than computing the tokens that
	// were on that upstream before is predicted to take. It is not held when LMCache is
	// expected to need longer, as its last stagings show, or when the request would wait
	// in the engine's queue for as long anyway. Default: 0, not at all.
	Wait caddy.Duration `json:"wait,omitempty"`

	// Whether to send the engine a one-token request with the prompt of a conversation
	// whose answer ended in tool calls: shortly before its next turn is expected (by the
	// average time of others), if the GPU is predicted to have evicted the prompt. This
	// is the only way from outside to have its blocks there before that turn. The
	// request takes a place in the engine's batch, may evict other blocks, computes the
	// blocks that LMCache does not have, and counts in the engine's metrics. Until then
	// the scrubbed body is kept in memory, under `in_flight_limit`. Each upstream gets
	// one such request at a time. It carries no credentials, so an engine that needs an
	// API key refuses it. With `wait` it gains nothing: a held request brings its blocks
	// to the GPU just as soon, and would only wait for both. Default: false.
	WarmGPU bool `json:"warm_gpu,omitempty"`
}

var (
	errLMCache     = errors.New("lmcache takes a URL such as http://{http.reverse_proxy.upstream.host}:8080, or coordinator and a URL")
	errCoordinator = errors.New("lmcache: the URL of the coordinator takes no placeholders of an upstream and no relative port")
	errController  = errors.New("lmcache: the legacy controller of in-process LMCache is no longer supported: run LMCache's multi-process server with a coordinator, and give its URL: lmcache coordinator <url>")
	errWait        = errors.New("lmcache: wait takes a duration from 0s to 1m")
)

// check refuses options that are out of range.
func (l *LMCache) check() error {
	if l == nil {
		return nil
	}
	switch {
	case (l.Address == "") == (l.Coordinator == ""), !endpoint.Template(expand(l.Address + l.Coordinator)).Valid("http"):
		return errLMCache
	case l.Coordinator != "" && !plainURL(expand(l.Coordinator)):
		return errCoordinator
	case l.Wait < 0 || time.Duration(l.Wait) > maxStagingWait:
		return errWait
	}
	return nil
}

// plainURL reports whether a URL depends on no upstream: a coordinator serves all.
func plainURL(raw string) bool {
	_, err := url.Parse(raw)
	return err == nil
}

// expanded returns l with the placeholders replaced that mean the same for all
// requests.
func (l *LMCache) expanded() *LMCache {
	k := *l
	k.Address = expand(l.Address)
	k.Coordinator = expand(l.Coordinator)
	return &k
}

// newStager returns the stager of the policy. Without LMCache it does nothing.
func (p *Policy) newStager() staging.Stager {
	if p.LMCache == nil {
		return staging.Nop
	}
	weights := routing.DefaultTierWeights
	if p.Events != nil {
		weights = p.Events.weights()
	}
	p.offloadWeights = &weights
	return staging.New(staging.Options{
		Client:  p.LMCache.client(),
		Wait:    time.Duration(p.LMCache.Wait),
		WarmGPU: p.LMCache.WarmGPU,
		Totals:  p.shared.stagings,
	})
}

// client returns the client of the configured coordinator, or of the nodes.
func (l *LMCache) client() lmcache.Client {
	if l.Coordinator != "" {
		base, _ := url.Parse(l.Coordinator) // checked before
		return lmcache.NewCoordinator(lmcache.CoordinatorOptions{Base: base})
	}
	return lmcache.NewNode(lmcache.NodeOptions{Base: func(upstream string) *url.URL {
		return endpoint.Template(l.Address).For(upstream, "http")
	}})
}

// stage has the prompt's blocks staged at the attempt's upstream. pool holds all
// upstreams of the proxy, healthy or not.
func (p *Policy) stage(r *http.Request, s *requestState, pool reverseproxy.UpstreamPool) {
	if p.LMCache == nil {
		return // the closure below allocates
	}
	fetching := s.staging.Send(r.Context(), staging.Attempt{
		Upstream: s.address,
		Failed:   len(s.tries.Tried()),
		InPool: func(at string) bool {
			return slices.ContainsFunc(pool, func(u *reverseproxy.Upstream) bool { return address(u, r) == at })
		},
	})
	if fetching {
		s.tokens = tokenFetch{from: s.address}
	}
}

// stagedRequest is a request's state as its staging task sees it.
type stagedRequest requestState

// Prompt implements staging.Request.
func (s *stagedRequest) Prompt() staging.Prompt {
	p, body := s.stagingPrompt(), s.exchange.Body()
	p.Tools = bytes.Contains(body, []byte(`"tools"`)) || bytes.Contains(body, []byte(`"functions"`))
	return p
}

// Routing implements staging.Request.
func (s *stagedRequest) Routing() *routing.Request { return s.request }

// Retain implements staging.Request.
func (s *stagedRequest) Retain() (staging.Retained, bool) {
	kept, ok := s.exchange.Retain()
	if !ok {
		return nil, false
	}
	return &retainedPrompt{kept, s.signedRequest, s.policy.shared.tokens}, true
}

// stagingPrompt returns the signed prompt as staging needs it.
func (s *signedRequest) stagingPrompt() staging.Prompt {
	p := staging.Prompt{Model: s.lineages.storedAs(), Salt: s.prompt.Salt, Variant: s.prompt.Variant, Chain: s.prompt.Chain}
	for _, end := range s.prompt.Ends {
		p.Ends = append(p.Ends, end.Hash)
	}
	return p
}

// retainedPrompt is a request that is kept beyond its answer, with its prompt.
type retainedPrompt struct {
	*janitor.Retained
	signed signedRequest // a copy: the request goes on meanwhile
	tokens *following.TokenLinker
}

// Fetch implements staging.Retained.
func (k *retainedPrompt) Fetch(upstream string, attempt int, use func(ids []uint32)) bool {
	prompt := k.signed.promptAt(upstream)
	prompt.Attempt = uint64(attempt)
	return k.tokens.Fetch(prompt, k.Retained, upstream, use)
}

// parseLMCache reads
//
//	lmcache <url>|coordinator <url> {
//	    wait     <duration>
//	    warm_gpu on|off
//	}
func (p *Policy) parseLMCache(d *caddyfile.Dispenser, o options) error {
	if err := o.note(d); err != nil {
		return err
	}
	l := new(LMCache)
	args := d.RemainingArgs()
	switch {
	case len(args) == 1 && strings.Contains(args[0], "://"):
		l.Address = args[0]
	case len(args) == 2 && args[0] == "coordinator":
		l.Coordinator = args[1]
	case len(args) > 0 && args[0] == "controller":
		return d.WrapErr(errController)
	default:
		return d.WrapErr(errLMCache)
	}
	inner := newOptions("lmcache", "wait", "warm_gpu")
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		option := d.Val()
		value, err := inner.argument(d)
		if err != nil {
			return err
		}
		switch option {
		case "wait":
			if l.Wait, err = parseDuration(value, 0, errWait); err != nil {
				return d.WrapErr(err)
			}
		case "warm_gpu":
			if l.WarmGPU, err = parseSwitch("lmcache: warm_gpu", value); err != nil {
				return d.WrapErr(err)
			}
		}
	}
	if err := l.check(); err != nil {
		return d.WrapErr(err)
	}
	p.LMCache = l
	return nil
}
