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

// maxStagingWait bounds how long a request may be held for staging.
const maxStagingWait = time.Minute

// LMCache says where LMCache can be asked to bring a prompt's KV blocks up from
// disk or remote storage to the node's CPU memory (staging) while the request
// is on its way. The GPU is filled by the engine itself, when it schedules the
// request: nothing outside can do that.
//
// A prompt is staged where it goes when some of it was there before, or on
// another upstream, is not expected on the GPU any more, and the staging would
// end before the engine schedules the request: while that waits in the engine's
// queue, or is held (`wait`). It also is on an upstream that takes over from one
// that has failed or cannot be picked any more, and, when an answer ends in tool
// calls, for the next turn of that conversation. What the GPU holds, and what is
// in CPU memory or on disk, is known by the policy's `events`, or else by what was
// sent where, the engine's capacity, and what answers report.
//
// What a coordinator says about who holds a prompt, asked two
// seconds after its answer, when nodes have reported, counts where the next turn
// goes for a minute, by the weights of the tiers (see `events`); so does, for
// less, what an upstream was sent and its GPU has given up, or lost in a restart.
//
// LMCache is asked with a prompt's tokens, which engines tell of chats and
// completions (`tokenize`): prompts of other APIs are not staged.
//
// Either `address` or `coordinator` is to be given.
type LMCache struct {
	// Each node's LMCache server (MP mode), as a URL such as
	// `http://{http.reverse_proxy.upstream.host}:8080`, with the same
	// placeholders as `events`.
	Address string `json:"address,omitempty"`

	// In its place the MP coordinator's URL, which knows all nodes. A node is
	// found by the IP address it has registered with, which has to be the
	// upstream's; over how many ranks it keeps a model, and under which name, it is
	// asked at the port it has registered with.
	Coordinator string `json:"coordinator,omitempty"`

	// How long a request may be held for its blocks to be staged, its tokens
	// being fetched included. It is, only when computing the tokens that were on
	// that upstream before is predicted to take longer than that, and when it
	// would not wait in the engine's queue for as long anyway. Default: 0, not at
	// all.
	Wait caddy.Duration `json:"wait,omitempty"`

	// Whether to send the engine a request for one token with the prompt of a
	// conversation whose answer ended in tool calls, shortly before its next turn
	// is expected (by how long others have taken), if its GPU is predicted to have
	// given the prompt up: the only way from outside to have its blocks there
	// before that turn. It takes a place in the engine's batch, may push out
	// others' blocks, computes what LMCache does not have, and counts in the
	// engine's figures; the scrubbed body is kept in memory until then, under
	// `in_flight_limit`. One at a time for each upstream. It carries no credentials:
	// an engine that asks for an API key refuses it. Not for a request that is held
	// (`wait`): that brings its blocks to the GPU itself, as soon as one sent ahead
	// of it would, and would only wait for both. Default: false.
	WarmGPU bool `json:"warm_gpu,omitempty"`
}

var (
	errLMCache    = errors.New("lmcache takes a URL such as http://{http.reverse_proxy.upstream.host}:8080, or coordinator and a URL")
	errController = errors.New("lmcache: controller, the legacy controller of in-process LMCache, is no longer supported: use LMCache's multi-process server with its coordinator, as lmcache coordinator <url>")
	errWait       = errors.New("lmcache: wait takes a duration from 0s to 1m")
)

// check refuses options that are out of range.
func (l *LMCache) check() error {
	if l == nil {
		return nil
	}
	switch {
	case (l.Address == "") == (l.Coordinator == ""), !endpoint.Template(expand(l.Address + l.Coordinator)).Valid("http"):
		return errLMCache
	case l.Wait < 0 || time.Duration(l.Wait) > maxStagingWait:
		return errWait
	}
	return nil
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
	weights := defaultWeights
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

// client returns the way to LMCache that is configured.
func (l *LMCache) client() lmcache.Client {
	if l.Coordinator != "" {
		base, _ := url.Parse(l.Coordinator) // checked before
		return lmcache.NewCoordinator(lmcache.CoordinatorOptions{Base: base})
	}
	return lmcache.NewNode(lmcache.NodeOptions{Base: func(upstream string) *url.URL {
		return endpoint.Template(l.Address).For(upstream, "http")
	}})
}

// stage has the prompt's blocks staged where the attempt goes. pool holds all
// upstreams of the proxy, healthy or not.
func (p *Policy) stage(r *http.Request, s *requestState, pool reverseproxy.UpstreamPool) {
	if p.LMCache == nil {
		return // the closure below allocates
	}
	fetching := s.staging.Send(r.Context(), staging.Attempt{
		Upstream: s.address,
		Failed:   len(s.failed),
		InPool: func(at string) bool {
			return slices.ContainsFunc(pool, func(u *reverseproxy.Upstream) bool { return address(u, r) == at })
		},
	})
	s.fetching = s.fetching || fetching
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
	return &retainedPrompt{kept, s.prompt, s.policy.shared.tokens}, true
}

// stagingPrompt returns the signed prompt as staging needs it.
func (s *signedRequest) stagingPrompt() staging.Prompt {
	p := staging.Prompt{Model: s.model, Salt: s.prompt.Salt, Variant: s.prompt.Variant, Chain: s.prompt.Chain}
	for _, end := range s.prompt.Ends {
		p.Ends = append(p.Ends, end.Hash)
	}
	return p
}

// retainedPrompt is a request that is kept beyond its answer, with its prompt.
type retainedPrompt struct {
	*janitor.Retained
	prompt following.SignedPrompt
	tokens *following.TokenLinker
}

// Fetch implements staging.Retained.
func (k *retainedPrompt) Fetch(upstream string, attempt int, use func(ids []uint32)) bool {
	k.prompt.Attempt = uint64(attempt)
	return k.tokens.Fetch(k.prompt, k.Retained, upstream, use)
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
			wait, err := caddy.ParseDuration(value)
			if err != nil || wait < 0 {
				return d.WrapErr(errWait)
			}
			l.Wait = caddy.Duration(wait)
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
