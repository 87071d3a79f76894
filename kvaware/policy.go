// SPDX-License-Identifier: Apache-2.0

// Package kvaware is the Caddy side of cache-aware routing: the kv_aware
// selection policy, the app that holds the state of all configs, and the admin
// routes.
//
// Options, signing and the shared state are tested beside their files. Tests of
// what needs a running Caddy (select.go, requeststate.go, overload.go, explain.go,
// unscrubbed.go, metrics.go, fallback.go) are in integration/gateway,
// integration/events and integration/staging.
package kvaware

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"go.uber.org/zap"

	"github.com/bauxite/caddy-kvaware/internal/engine/kvevents"
	"github.com/bauxite/caddy-kvaware/internal/following"
	"github.com/bauxite/caddy-kvaware/internal/outlier"
	"github.com/bauxite/caddy-kvaware/internal/routing"
	"github.com/bauxite/caddy-kvaware/internal/staging"
	"github.com/bauxite/caddy-kvaware/internal/upstreams"
)

const (
	// DefaultBlockSize is the default of block_size, in bytes.
	DefaultBlockSize = 256

	// MinBlockSize and MaxBlockSize bound block_size, in bytes. Engines cache in
	// blocks of 16 tokens, about 64 bytes, so smaller blocks only cost memory.
	// With larger ones more of a prompt lies behind its last whole block.
	MinBlockSize = 64
	MaxBlockSize = 65536

	// DefaultMetrics is the default of metrics.
	DefaultMetrics = "/metrics"

	// maxCapacity bounds capacity, in tokens: more than any engine has.
	maxCapacity = 1_000_000_000_000
)

func init() {
	caddy.RegisterModule(Policy{})
}

// Policy is a load balancing policy for LLM engines. It sends a prompt to the
// upstream that is predicted to give its first token soonest: one that holds
// much of the prompt's prefix in its KV cache has less to compute, one with
// less prefill queued makes it wait less.
//
// A process-wide, memory-capped radix tree of keyed hashes tells what each
// upstream holds (see the `kv_aware` app). Hashes are made from scrubbed prompts
// only, so a `pii_janitor` handler has to run ahead of `reverse_proxy`. The
// policy puts the scrubbed body back at each attempt, so retries of LLM calls
// are safe without `request_buffers`. Where the proxy has none of `lb_retries`,
// `lb_try_duration` and `lb_retry_match`, a request that fails before its answer
// begins is retried at up to two other upstreams. Retries are bounded to a fifth
// of the requests and ten a second.
//
// Placeholders it sets:
//
// Placeholder | Description
// ------------|------------
// `{http.kv_aware.match_tokens}` | Prompt tokens predicted to be cached at the picked upstream
// `{http.kv_aware.prompt_tokens}` | Length of the prompt in tokens, as estimated
// `{http.kv_aware.reason}` | The reason for the pick: hit, load, cold, fallback, state (the upstream has the stored response that the request refers to) or unscrubbed; overload for a request that `max_wait` has refused
// `{http.kv_aware.retry}` | true after a failed attempt that should be retried, for use in `lb_retry_match`
type Policy struct {
	// How many blocks of a prompt to track. Here a block is a message; the
	// first block holds tools and system prompt, and a prompt without
	// messages is one block. Inside this limit the prompt is always hashed in
	// runs of `block_size`, so two questions about one document still share
	// the document. Default: 0, all of the prompt.
	RadixDepth int `json:"radix_depth,omitempty"`

	// How many bytes of scrubbed prompt go into one hash, from 64 to 65536.
	// Default: 256.
	BlockSize int `json:"block_size,omitempty"`

	// The policy for requests that have no signature (no prompt, embeddings,
	// ...). Any policy but least_conn also decides for prompts of which no
	// upstream holds anything. `least_busy` is read as
	// `least_conn`. Default: least_conn.
	FallbackRaw json.RawMessage `json:"fallback,omitempty" caddy:"namespace=http.reverse_proxy.selection_policies inline_key=policy"`

	// What happens to a request with a body that no `pii_janitor` has seen:
	// `refuse` answers 503 and says what is missing, `fallback` lets the
	// fallback policy pick. It is never hashed. Default: refuse.
	Unscrubbed string `json:"unscrubbed,omitempty"`

	// Whether to ask engines for usage in streamed answers when the client does
	// not: `inject` adds `stream_options.include_usage` and takes the extra
	// chunk out of the answer again, `observe` adds nothing. Usage shows whether
	// predictions were right. Default: observe.
	Usage string `json:"usage,omitempty"`

	// The tenant of a request, as a placeholder such as `{http.auth.user.id}`.
	// Requests of different tenants never share a prefix. A request with an empty
	// tenant shares none. Default: none, all share.
	Tenant string `json:"tenant,omitempty"`

	// Whether to send the tenant to the engine, as a keyed hash in `cache_salt`,
	// in place of any salt the client sent. Then tenants do not share KV cache
	// there either, and none can probe another's by timing. Needs `tenant`.
	// Default: false.
	CacheSalt bool `json:"cache_salt,omitempty"`

	// The longest time that a request may wait until an engine begins its prompt,
	// as predicted. A request that would wait longer at every upstream is refused
	// with status 429 and an error in the shape of its API. `Retry-After` says
	// when it would be let in. Requests of a worse `priority` are refused at
	// shorter waits, and so are those of a `tenant` with more than its fair share
	// of the prompts that wait. An idle engine takes any request. Requests that
	// have no signature (no prompt, embeddings, ...) are not refused. Where no
	// answers are streamed, the prediction needs the engines' `metrics`.
	// Default: 0, none is refused.
	MaxWait caddy.Duration `json:"max_wait,omitempty"`

	// The priority of a request, as a placeholder such as
	// `{http.request.header.X-Priority}`: an integer, and the smaller one goes
	// first where `max_wait` refuses. A value that is empty or no integer counts
	// as 0. Clients can choose their own priority unless something ahead of the
	// proxy sets what the placeholder reads. Default: none, the member `priority`
	// of the body counts, as vLLM reads it.
	Priority string `json:"priority,omitempty"`

	// How often a client that waits for the first token of a streamed answer gets a
	// comment, so that proxies with an idle timeout between it and the gateway keep
	// the connection; at least 1s. The first comment sends status 200 and
	// `text/event-stream`. Retries go on behind it, but headers that an answer
	// brings later are lost, and a failure becomes the API's error event, behind
	// which the connection is aborted. Default: 0, no comments.
	KeepAlive caddy.Duration `json:"keepalive,omitempty"`

	// How many tokens the KV cache of each upstream holds. Older prompts are
	// taken to be evicted there. Answers that report cached tokens correct it.
	// When policies configure different capacities for an upstream, the largest
	// counts. Default: 0, as the engine's metrics report; without them it is
	// learned from the answers.
	Capacity int64 `json:"capacity,omitempty"`

	// The path of the engines' metrics, or `off`. While requests can go to an
	// upstream, its metrics are read every two seconds: load, KV capacity,
	// restarts, sleep and resets of an idle engine (vLLM, SGLang, llama.cpp). Its
	// list of models is read as often (one of more than 64 models every 30
	// seconds, and when requests contradict it). Names that it gives the same root
	// are one model there, and share their history.
	// Both are read over plain HTTP, in the background. An upstream that speaks
	// only TLS, or does not answer, is asked less and less often, and routing
	// does without. Default: /metrics.
	Metrics string `json:"metrics,omitempty"`

	// Whether `GET /v1/models` is answered with the models that all upstreams list:
	// `union` asks them at the same time, with the client's own headers, and leaves
	// out those that do not answer within two seconds. Of a model that several
	// list, the first upstream's entry counts. When none answers with a list, and
	// with `off`, one upstream answers. Default: off.
	Models string `json:"models,omitempty"`

	// Where engines publish their KV events: which blocks they store and evict.
	// Two policies cannot follow one upstream in different ways. Default: off,
	// the policy goes by its own history and by the cached tokens that answers
	// report.
	Events *Events `json:"events,omitempty"`

	// When a prompt's tokens are fetched from an engine. They are needed to find
	// a prompt in the engines' events, and to ask LMCache for it. vLLM has
	// `/tokenize` for chats and completions. It renders prompts with images,
	// Anthropic messages and OpenAI responses when it runs with
	// `--enable-scale-out`. `after` fetches them beside the request,
	// for later prompts that share a prefix; `inline` before routing, for at most
	// `tokenize_deadline`. With `off` the policy goes by its own history, and
	// events only show that an engine has lost everything. Default: after, with
	// `events` or `lmcache`.
	Tokenize string `json:"tokenize,omitempty"`

	// How long `tokenize inline` may hold a request, at most 10s. After that the
	// fetch goes on beside the request. Default: 20ms.
	TokenizeDeadline caddy.Duration `json:"tokenize_deadline,omitempty"`

	// Where to ask LMCache to stage a prompt's KV blocks in CPU memory while the
	// request is on its way. Default: off.
	LMCache *LMCache `json:"lmcache,omitempty"`

	// When an upstream that fails is left out, and for how long. Default: after
	// three failures in a row, for 2s and up to 15s.
	Eject *Eject `json:"eject,omitempty"`

	fallback     reverseproxy.Selector
	coldFallback bool // the fallback decides for prompts that match nothing
	available    func(*reverseproxy.Upstream) bool
	ended        func() bool // the config has stopped, and its health checks are cancelled
	logger       *zap.Logger

	shared              *shared
	upstreamsSubscriber *upstreams.Subscriber
	eventsSubscriber    *following.Subscriber
	stager              staging.Stager
	offloadWeights      *kvevents.TierWeights // nil: the engines keep no blocks outside their GPUs

	ejection     outlier.Options
	retries      int                         // attempts that may follow a first one
	ownTransport *reverseproxy.HTTPTransport // made for the proxy; nil: it had one

	observed *observed
	shedder  *routing.Shedder // nil: no request is refused for its wait
}

// observed holds the facts that a provisioned policy learns from its config and
// its requests.
type observed struct {
	refresh    throttle
	relist     throttle                  // the last time that models were read on demand
	searched   throttle                  // the last time that a stored response was looked for at several upstreams
	unlisted   throttle                  // the last time that a model none lists was looked for at all upstreams
	place      atomic.Pointer[placement] // nil until the config has started
	lastRouted atomic.Pointer[routed]    // nil: nothing was routed, or the config names all

	// The upstreams that were healthy when the config began to stop; nil before.
	healthy atomic.Pointer[reverseproxy.UpstreamPool]
}

// CaddyModule returns the Caddy module information.
func (Policy) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.reverse_proxy.selection_policies.kv_aware",
		New: func() caddy.Module { return new(Policy) },
	}
}

// Provision fills in the defaults, loads the fallback policy and joins the
// process's shared state.
func (p *Policy) Provision(ctx caddy.Context) error {
	p.logger = ctx.Logger()
	p.available = p.isAvailable
	p.ended = func() bool { return ctx.Err() != nil }
	p.setDefaults()
	if err := p.loadFallback(ctx); err != nil {
		return err
	}
	app, err := ctx.App("kv_aware")
	if err != nil {
		return fmt.Errorf("loading the kv_aware app: %v", err)
	}
	p.shared = app.(*App).shared
	p.subscribe()
	p.stager = p.newStager()
	p.shedder = p.newShedder()
	p.shared.join(p)
	return p.wrapProxy(ctx)
}

// setDefaults fills in the options that are not configured, and replaces the
// placeholders that mean the same for all requests.
func (p *Policy) setDefaults() {
	p.BlockSize = cmp.Or(p.BlockSize, DefaultBlockSize)
	p.Unscrubbed = cmp.Or(p.Unscrubbed, unscrubbedRefuse)
	p.Usage = cmp.Or(p.Usage, usageObserve)
	p.Metrics = cmp.Or(p.Metrics, DefaultMetrics)
	p.Models = cmp.Or(p.Models, modelsOff)
	p.setTokenizeDefaults()
	if p.Events != nil {
		p.Events = p.Events.expanded()
	}
	if p.LMCache != nil {
		p.LMCache = p.LMCache.expanded()
	}
	p.ejection = p.Eject.options()
}

// subscribe makes the policy's subscribers for the shared state, and its own
// memory.
func (p *Policy) subscribe() {
	p.observed = new(observed)
	p.upstreamsSubscriber = &upstreams.Subscriber{Capacity: p.Capacity}
	if p.Metrics != metricsOff {
		p.upstreamsSubscriber.MetricsPath = p.Metrics
	}
	p.eventsSubscriber = new(following.Subscriber)
	if p.Events != nil {
		p.eventsSubscriber.Events = p.Events.following()
		p.eventsSubscriber.OnConflict = func(upstream string) {
			p.logger.Warn("another kv_aware policy follows this upstream's events differently: the other policy's events option counts",
				zap.String("upstream", upstream))
		}
	}
}

// Validate refuses options that are out of range.
func (p *Policy) Validate() error {
	if p.CacheSalt && p.Tenant == "" {
		return errors.New("cache_salt needs tenant: there are no tenants to separate")
	}
	return errors.Join(
		checkRadixDepth(p.RadixDepth),
		checkBlockSize(int64(p.BlockSize)),
		checkUnscrubbed(p.Unscrubbed),
		checkUsage(p.Usage),
		checkCapacity(p.Capacity),
		checkMetrics(p.Metrics),
		checkModels(p.Models),
		checkMaxWait(p.MaxWait),
		checkKeepAlive(p.KeepAlive),
		p.Events.check(),
		p.LMCache.check(),
		p.Eject.check(),
		p.checkTokenizeNeeds(),
	)
}

// Cleanup takes the policy out of the shared state.
func (p *Policy) Cleanup() error {
	if p.shared != nil {
		p.stager.Close()
		p.shared.leave(p)
	}
	if p.ownTransport != nil {
		return p.ownTransport.Cleanup()
	}
	return nil
}

// The values of options that take words.
const (
	unscrubbedRefuse   = "refuse"
	unscrubbedFallback = "fallback"
	usageObserve       = "observe"
	usageInject        = "inject"
	metricsOff         = "off"
)

func checkRadixDepth(blocks int) error {
	if blocks < 0 {
		return errors.New("radix_depth takes a number of blocks, 0 or more")
	}
	return nil
}

func checkBlockSize(bytes int64) error {
	if bytes < MinBlockSize || bytes > MaxBlockSize {
		return fmt.Errorf("block_size takes a size from %d to %d bytes", MinBlockSize, MaxBlockSize)
	}
	return nil
}

func checkUnscrubbed(value string) error {
	if value != unscrubbedRefuse && value != unscrubbedFallback {
		return errors.New("unscrubbed takes refuse or fallback")
	}
	return nil
}

func checkUsage(value string) error {
	if value != usageObserve && value != usageInject {
		return errors.New("usage takes observe or inject")
	}
	return nil
}

var errCapacity = errors.New("capacity takes a number of tokens, 1 or more")

// checkCapacity takes 0 for a capacity that is not configured.
func checkCapacity(tokens int64) error {
	if tokens < 0 || tokens > maxCapacity {
		return errCapacity
	}
	return nil
}

// checkMetrics takes off, or a path of plain characters.
func checkMetrics(value string) error {
	odd := func(c rune) bool { return c <= ' ' || c >= 0x7f || strings.ContainsRune("?#%", c) }
	if value != metricsOff && (!strings.HasPrefix(value, "/") || len(value) > 256 || strings.ContainsFunc(value, odd)) {
		return errors.New("metrics takes a path such as /metrics, or off")
	}
	return nil
}

// Interface guards
var (
	_ caddy.Provisioner     = (*Policy)(nil)
	_ caddy.Validator       = (*Policy)(nil)
	_ caddy.CleanerUpper    = (*Policy)(nil)
	_ reverseproxy.Selector = (*Policy)(nil)
)
