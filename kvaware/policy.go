// SPDX-License-Identifier: Apache-2.0

package kvaware

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"go.uber.org/zap"

	"github.com/bauxite/caddy-kvaware/internal/engine/kvevents"
	"github.com/bauxite/caddy-kvaware/internal/routing"
	"github.com/bauxite/caddy-kvaware/internal/staging"
	"github.com/bauxite/caddy-kvaware/janitor"
)

const (
	// DefaultBlockSize is how many bytes of scrubbed prompt go into one hash
	// when block_size is not configured.
	DefaultBlockSize = 256

	// MinBlockSize and MaxBlockSize bound block_size, in bytes. Smaller blocks
	// cost more memory than they tell: engines cache in blocks of 16 tokens,
	// about 64 bytes. Larger ones lose what lies behind the last whole block.
	MinBlockSize = 64
	MaxBlockSize = 65536

	// DefaultMetrics is the path of the engines' metrics when none is
	// configured.
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
// What each upstream holds is kept in a process-wide, memory-capped radix tree
// of keyed hashes (see the `kv_aware` app). Hashes are made from scrubbed
// prompts only, so a `pii_janitor` handler has to run ahead of `reverse_proxy`.
// The policy also puts the scrubbed body back at each attempt, which is what
// makes retries of LLM calls safe without `request_buffers`.
//
// Placeholders it sets:
//
// Placeholder | Description
// ------------|------------
// `{http.kv_aware.match_tokens}` | Prompt tokens predicted to be cached at the picked upstream
// `{http.kv_aware.prompt_tokens}` | Length of the prompt in tokens, as estimated
// `{http.kv_aware.reason}` | Why it was picked: hit, load, cold, fallback or unscrubbed
type Policy struct {
	// How many blocks of a prompt to track, a block being a message; the
	// first block holds tools and system prompt, and a prompt without
	// messages is one block. Inside this limit the prompt is always hashed in
	// runs of `block_size`, so two questions about one document still share
	// the document. Default: 0, all of the prompt.
	RadixDepth int `json:"radix_depth,omitempty"`

	// How many bytes of scrubbed prompt go into one hash, from 64 to 65536.
	// Default: 256.
	BlockSize int `json:"block_size,omitempty"`

	// The policy for requests that have no signature (no prompt, embeddings,
	// ...). When it is set to something else than least_conn, it also decides
	// for prompts of which no upstream holds anything. `least_busy` is read as
	// `least_conn`. Default: least_conn.
	FallbackRaw json.RawMessage `json:"fallback,omitempty" caddy:"namespace=http.reverse_proxy.selection_policies inline_key=policy"`

	// What happens to a request with a body that no `pii_janitor` has seen:
	// `refuse` answers 503 and says what is missing, `fallback` lets the
	// fallback policy pick. It is never hashed. Default: refuse.
	Unscrubbed string `json:"unscrubbed,omitempty"`

	// Whether to ask engines for usage in streamed answers that the client did
	// not ask it for: `inject` adds `stream_options.include_usage` and takes the
	// extra chunk out of the answer again, `observe` adds nothing. Usage tells
	// whether predictions were right. Default: observe.
	Usage string `json:"usage,omitempty"`

	// Who a request belongs to, as a placeholder such as `{http.auth.user.id}`.
	// Requests of different tenants never share a prefix. A request for which
	// it is empty shares with nobody. Default: none, all share.
	Tenant string `json:"tenant,omitempty"`

	// Whether to send the tenant, as a keyed hash, to the engine as
	// `cache_salt`, in place of any the client sent: then tenants do not share
	// KV cache there either, and none can probe another's by timing. Needs
	// `tenant`. Default: false.
	CacheSalt bool `json:"cache_salt,omitempty"`

	// How many tokens the KV cache of each upstream holds. What an upstream
	// was sent longer ago than that is taken to be evicted there. Answers that
	// report cached tokens correct it. When policies configure different ones
	// for an upstream, the largest counts. Default: 0, as the engine's metrics
	// say; where they do not, it is learned from the answers.
	Capacity int64 `json:"capacity,omitempty"`

	// The path of the engines' metrics, or `off`. While requests can go to an
	// upstream, it is read every two seconds for what the engine is busy with,
	// how much its KV cache holds and whether it was restarted (vLLM, SGLang,
	// llama.cpp), and its list of models for which it serves. This is done in
	// plain HTTP, in the background; an upstream that speaks only TLS, or does
	// not answer, is asked less and less often, and routing does without.
	// Default: /metrics.
	Metrics string `json:"metrics,omitempty"`

	// Where engines publish what happens in their KV caches. Two policies
	// cannot follow one upstream in different ways. Default: nowhere, the
	// policy goes by what it has sent where, and by what answers report.
	Events *Events `json:"events,omitempty"`

	// When a prompt's tokens are fetched from an engine (vLLM: `/tokenize`, or
	// its render endpoints), which is how a prompt's text is found in the
	// engines' events, and what LMCache is asked with. `after` does it beside
	// the request, for those that share a prefix with it later; `inline` before
	// routing, for at most `tokenize_deadline`; with `off` the policy goes by what
	// it has sent where, and events only say that an engine has lost everything.
	// Default: after, with `events` or `lmcache`.
	Tokenize string `json:"tokenize,omitempty"`

	// How long `tokenize inline` may hold a request, at most 10s. When it takes
	// longer, it goes on beside the request. Default: 20ms.
	TokenizeDeadline caddy.Duration `json:"tokenize_deadline,omitempty"`

	// Where LMCache is asked to stage a prompt's KV blocks in CPU memory while
	// the request is on its way. Default: nowhere.
	LMCache *LMCache `json:"lmcache,omitempty"`

	sight          *sight
	met            *acquaintance
	fallback       reverseproxy.Selector
	coldFallback   bool // the fallback decides for prompts that match nothing
	shared         *shared
	stager         staging.Stager
	offloadWeights *kvevents.TierWeights // nil: the engines keep no blocks outside their GPUs
	available      func(*reverseproxy.Upstream) bool
	logger         *zap.Logger
}

// CaddyModule returns the Caddy module information.
func (Policy) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.reverse_proxy.selection_policies.kv_aware",
		New: func() caddy.Module { return new(Policy) },
	}
}

// Provision loads the fallback policy and joins the process's shared tree.
func (p *Policy) Provision(ctx caddy.Context) error {
	p.logger = ctx.Logger()
	p.available = (*reverseproxy.Upstream).Available
	if p.BlockSize == 0 {
		p.BlockSize = DefaultBlockSize
	}
	if p.Unscrubbed == "" {
		p.Unscrubbed = "refuse"
	}
	if p.Usage == "" {
		p.Usage = "observe"
	}
	if p.Metrics == "" {
		p.Metrics = DefaultMetrics
	}
	p.sight, p.met = new(sight), new(acquaintance)
	p.fillTokens()
	if err := p.check(); err != nil {
		return err
	}
	if err := p.loadFallback(ctx); err != nil {
		return err
	}
	app, err := ctx.App("kv_aware")
	if err != nil {
		return fmt.Errorf("loading the kv_aware app: %v", err)
	}
	p.shared = app.(*App).shared
	p.setStager()
	p.shared.enlist(p)
	return nil
}

// Cleanup takes the policy out of the shared state.
func (p *Policy) Cleanup() error {
	if p.shared != nil {
		p.stager.Close()
		p.shared.dismiss(p)
	}
	return nil
}

// check refuses options that are out of range.
func (p *Policy) check() error {
	switch {
	case p.RadixDepth < 0:
		return errors.New("radix_depth takes a number of blocks, 0 or more")
	case p.BlockSize < MinBlockSize || p.BlockSize > MaxBlockSize:
		return fmt.Errorf("block_size takes a size from %d to %d bytes", MinBlockSize, MaxBlockSize)
	case p.Unscrubbed != "refuse" && p.Unscrubbed != "fallback":
		return errors.New("unscrubbed takes refuse or fallback")
	case p.Usage != "observe" && p.Usage != "inject":
		return errors.New("usage takes observe or inject")
	case p.CacheSalt && p.Tenant == "":
		return errors.New("cache_salt needs tenant: there is nobody to separate")
	case p.Capacity < 0 || p.Capacity > maxCapacity:
		return errCapacity
	case !isMetrics(p.Metrics):
		return errMetrics
	}
	return p.checkTokens()
}

var (
	errCapacity = errors.New("capacity takes a number of tokens, 1 or more")
	errMetrics  = errors.New("metrics takes a path such as /metrics, or off")
)

// isMetrics reports whether metrics can be set to a value.
func isMetrics(value string) bool {
	if value == "off" {
		return true
	}
	plain := func(c rune) bool { return c > ' ' && c < 0x7f && c != '?' && c != '#' && c != '%' }
	return strings.HasPrefix(value, "/") && len(value) <= 256 && strings.IndexFunc(value, func(c rune) bool { return !plain(c) }) < 0
}

func (p *Policy) loadFallback(ctx caddy.Context) error {
	if p.FallbackRaw == nil {
		p.FallbackRaw = caddyconfig.JSONModuleObject(reverseproxy.LeastConnSelection{}, "policy", "least_conn", nil)
	}
	p.FallbackRaw = readLeastBusy(p.FallbackRaw)
	module, err := ctx.LoadModule(p, "FallbackRaw")
	if err != nil {
		return fmt.Errorf("loading the fallback policy: %v", err)
	}
	p.fallback = module.(reverseproxy.Selector)
	switch p.fallback.(type) {
	case reverseproxy.LeastConnSelection, *reverseproxy.LeastConnSelection:
	case *Policy:
		return errors.New("fallback: kv_aware cannot be its own fallback")
	default:
		p.coldFallback = true
	}
	return nil
}

// Select returns the upstream that is predicted to give the first token
// soonest, or nil when none is available. Caddy calls it again for each
// further attempt, which is how it tells that the one before has failed.
func (p *Policy) Select(pool reverseproxy.UpstreamPool, r *http.Request, w http.ResponseWriter) *reverseproxy.Upstream {
	p.see(pool, r)
	everybody := pool
	x, scrubbed := janitor.From(r)
	if !scrubbed {
		return p.selectUnscrubbed(pool, r, w)
	}
	fl := p.flight(x, r)
	if !x.Attach(r) {
		return nil // the answer has begun: there is nothing left to send
	}
	makeReplayable(r)
	pool = p.serving(pool, x.Model(), r)
	if fl.Request == nil {
		note(r, routing.Decision{Reason: routing.Fallback}, 0)
		return p.fallback.Select(pool, r, w)
	}
	fl.failed()
	among := p.selection(pool, fl, r)
	defer among.release()
	pool = among.upstreams
	p.met.meet(x.Janitor(), among.targets)
	p.tokenizeFirst(r, x, fl, among.targets)
	fl.staging.Consult(among.targets)
	d := fl.Route(among.targets, p.coldFallback)
	var u *reverseproxy.Upstream
	switch {
	case d.Pick >= 0:
		u = pool[d.Pick]
	case len(pool) == 0:
		return nil // Caddy's own rules for "no upstream available" apply
	default:
		if u = p.fallback.Select(pool, r, w); u == nil {
			return nil
		}
		d = fl.Assign(targetOf(u, r))
	}
	fl.depart(address(u, r), d)
	p.stage(r, fl, everybody)
	p.learnTokens(x, fl)
	note(r, d, fl.Tokens())
	return u
}

// makeReplayable lets the transport send the request again when a connection
// that was kept alive turns out to be dead before any byte of an answer: some
// engines close connections that they have announced as kept alive. A prompt
// can be sent twice. The entry without a value marks it so for net/http
// (https://pkg.go.dev/net/http#Transport) and is not sent.
func makeReplayable(r *http.Request) {
	if _, set := r.Header[idempotencyKey]; !set && r.GetBody != nil {
		r.Header[idempotencyKey] = nil
	}
}

const idempotencyKey = "Idempotency-Key"

// address returns what an upstream is known by. A dial address may hold
// placeholders that mean another engine for each request.
func address(u *reverseproxy.Upstream, r *http.Request) string {
	dial := u.String()
	if strings.IndexByte(dial, '{') < 0 {
		return dial
	}
	return replacer(r).ReplaceAll(dial, "")
}

func targetOf(u *reverseproxy.Upstream, r *http.Request) routing.Candidate {
	return routing.Candidate{Address: address(u, r), Requests: u.NumRequests()}
}

// note leaves the decision in the request's placeholders.
func note(r *http.Request, d routing.Decision, promptTokens int) {
	repl := replacer(r)
	repl.Set("http.kv_aware.match_tokens", d.Cached)
	repl.Set("http.kv_aware.prompt_tokens", promptTokens)
	repl.Set("http.kv_aware.reason", string(d.Reason))
}

func replacer(r *http.Request) *caddy.Replacer {
	return r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
}

// Interface guards
var (
	_ caddy.Provisioner     = (*Policy)(nil)
	_ caddy.CleanerUpper    = (*Policy)(nil)
	_ reverseproxy.Selector = (*Policy)(nil)
)
