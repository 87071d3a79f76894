// SPDX-License-Identifier: Apache-2.0

// Package janitor is the Caddy handler that takes personal data and secrets
// out of LLM requests and puts the client's own values back into its answers.
//
// It leaves an [Exchange] for every request it lets through. Only an Exchange
// makes a [Signature], the hashes of the scrubbed prompt by which requests are
// routed. So nothing unscrubbed can be remembered.
//
// Tests of the whole package are in attacks_test.go (requests that try to get a
// value past it) and memory_test.go (values that stay in memory).
package janitor

import (
	"fmt"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/bauxite/caddy-kvaware/internal/admission"
	"github.com/bauxite/caddy-kvaware/internal/prompt"
	"github.com/bauxite/caddy-kvaware/internal/sensitive"
	"github.com/bauxite/caddy-kvaware/janitor/pii"
)

func init() {
	caddy.RegisterModule(Handler{})
}

// Defaults of the options. Sizes are in bytes.
const (
	DefaultMaxSize       = 32_000_000
	DefaultInFlightLimit = 512_000_000
	DefaultAdmitWait     = caddy.Duration(time.Second)
	DefaultReadTimeout   = caddy.Duration(30 * time.Second)
)

// Handler finds personal data and secrets in the requests of LLM APIs (OpenAI
// chat completions, completions, responses and embeddings, Anthropic messages,
// and any other JSON) and keeps them from the engines. It replaces each value
// by a placeholder such as `[EMAIL_1]` before it forwards the request, and puts
// the value back into the answer for the client that sent it. It numbers
// placeholders in the order in which the engine reads the prompt, so the turns
// of a conversation keep their common prefix and the engine's prefix cache works.
//
// The handler keeps the values in memory only, and only while the request lasts.
// It refuses everything that it cannot read.
//
// It does not claim compliance with any law. Without further recognizers it does
// not find names, postal addresses, or values that are spelled out or encoded.
type Handler struct {
	// What happens to the values found: `placeholder` replaces each value by its
	// own placeholder, `redact` replaces all by `[REDACTED]`, `block` refuses the
	// request with status 422, and `detect` only counts and forwards the original
	// (the hashes for routing are still made of the redacted text).
	// Default: `placeholder`.
	Mode string `json:"mode,omitempty"`

	// The modes of single entities, by label: `{"SSN": "block"}`. Default: none.
	EntityModes map[string]string `json:"entity_modes,omitempty"`

	// How placeholders are named. With `numbered` (`[EMAIL_1]`) the same prompt of
	// different users shares a prefix. With `keyed` (`[EMAIL_7f3a9c]`, an HMAC
	// under the `kv_aware` app's `hash_key`) a value keeps its placeholder across
	// gateways and when the start of a conversation is cut off.
	// Default: `numbered`.
	Placeholder string `json:"placeholder,omitempty"`

	// Whether the client gets its own values in place of the placeholders in the
	// answer. Secrets stay placeholders unless `restore_entities` names their
	// entity. Default: true.
	Restore *bool `json:"restore,omitempty"`

	// The entities to restore; a `-` in front excludes an entity. Default: all but
	// secrets.
	RestoreEntities []string `json:"restore_entities,omitempty"`

	// The recognizers to use: plain names replace the default set, `+name` adds
	// to it and `-name` removes from it. A name that is not built in is a module
	// of the namespace `pii_janitor.recognizers`. Default: the default set, which
	// `caddy pii-scan --list` shows.
	Recognizers []string `json:"recognizers,omitempty"`

	// Your own patterns: a name, which in upper case becomes the label of the
	// entity, and a regular expression in RE2 syntax. Default: none.
	Patterns map[string]string `json:"patterns,omitempty"`

	// Values that are left as they are. Default: none.
	Allow []string `json:"allow,omitempty"`

	// What happens when personal data cannot be looked for, because the body is
	// not JSON, the prompt is token ids, or the connection is upgraded: `refuse`
	// answers with status 415 or 400, `pass` forwards the request unscrubbed and
	// counts it. Default: `refuse`.
	Unknown string `json:"unknown,omitempty"`

	// What happens to members and headers of requests that steer an engine from
	// inside, because they name another host, another request, or what the engine
	// files in its cache: `kv_transfer_params`, `bootstrap_host` and the like. The
	// rules apply in their order, and a later one wins. By default all are taken out
	// of the request, and requests that manage an engine, such as `/flush_cache`, are
	// refused. Gateways that are stacked may need `pass`. Default: none.
	EngineMembers []EngineMemberRule `json:"engine_members,omitempty"`

	// The largest body in bytes, as sent and when decompressed. Larger bodies are
	// refused with status 413. Default: 32000000.
	MaxSize int64 `json:"max_size,omitempty"`

	// How many bytes all requests of the process may hold together: arriving
	// bodies, scrubbed copies, buffered answers and values. Bytes count as they
	// arrive. The unfinished uploads of one client address may hold half of the
	// limit. When requests wait for room, stalled uploads are ended first, then
	// uploads of the addresses that hold most. A request that finds no room is
	// refused with status 507. The limit should be at least twice `max_size`.
	// Default: 512000000.
	InFlightLimit int64 `json:"in_flight_limit,omitempty"`

	// How long a request may wait for room under `in_flight_limit`. Default: 1s.
	AdmitWait caddy.Duration `json:"admit_wait,omitempty"`

	// How long a body may take to arrive. Slower bodies are refused with status
	// 408. Default: 30s.
	ReadTimeout caddy.Duration `json:"read_timeout,omitempty"`

	scanner     *pii.Scanner
	mode        mode
	entityModes map[pii.Entity]mode
	restorable  func(pii.Entity) bool
	counters    map[pii.Entity]prometheus.Counter // findings
	keys        hashKeyer                         // nil: numbered
	pass        bool                              // unknown bodies are forwarded
	steering    steering
	queue       *admission.Queue
	logger      *zap.Logger
}

// hashKeyer is the kv_aware app, which holds the key of keyed placeholders. The
// app imports this package, so it cannot be imported here.
type hashKeyer interface{ HashKey() []byte }

// CaddyModule returns the Caddy module information.
func (Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.pii_janitor",
		New: func() caddy.Module { return new(Handler) },
	}
}

// Provision sets up the handler.
func (h *Handler) Provision(ctx caddy.Context) error {
	h.logger = ctx.Logger()
	h.queue = processQueue
	h.setDefaults()
	h.parseOptions()
	h.warn()
	if err := h.provisionScanner(ctx); err != nil {
		return err
	}
	if h.Placeholder == placeholderKeyed {
		app, err := ctx.App("kv_aware")
		if err != nil {
			return fmt.Errorf("placeholder keyed needs the kv_aware app: %v", err)
		}
		keys, ok := app.(hashKeyer)
		if !ok {
			return fmt.Errorf("placeholder keyed: the kv_aware app has no hash key")
		}
		h.keys = keys
	}
	return registerMetrics(ctx.GetMetricsRegistry())
}

// Validate checks the values of the options. Provision has reported unknown
// recognizers and entities before.
func (h *Handler) Validate() error { return h.checkOptions() }

// ServeHTTP scrubs the request, lets the handlers behind it answer, and
// restores the answer.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	x := &Exchange{janitor: h, api: prompt.ByPath(r.URL.Path), stored: prompt.StoredResponse(r.URL.Path), restorable: h.restorable}
	defer x.end(ErrAborted) // has an effect only after a panic
	if refused := h.admit(w, r, x); refused != nil {
		x.end(ErrAborted) // before the answer is written: the client may be slow to take it
		h.refuse(w, r, refused)
		h.linger(w, r, x.arrival)
		return nil
	}
	h.publish(r, x)
	rw := newResponseWriter(w, r, x)
	x.writer = rw
	defer rw.close()
	defer func() {
		if failure := recover(); failure != nil {
			rw.close()
			x.end(rw.aborted(failure))
			panic(failure)
		}
	}()
	err := next.ServeHTTP(rw, r)
	late := rw.failedLate(err)
	if !rw.finish() {
		h.logger.Warn("an answer ended before its last event", zap.Stringer("api", x.api))
		panic(http.ErrAbortHandler) // as Caddy does with an answer cut off
	}
	if x.refused {
		err = nil // the client has its answer; what the proxy makes of it is no error
	}
	x.end(rw.ended(err))
	if late {
		h.logLate(x, err)
		panic(http.ErrAbortHandler) // so that clients that do not read events notice
	}
	if err != nil {
		h.answerFailure(w, r, rw, err)
	}
	return err
}

// logLate logs a failure that the client got as an event. The server does not log
// it, because the status was sent before.
func (h *Handler) logLate(x *Exchange, err error) {
	level := zapcore.DebugLevel
	if err != nil && statusOf(err) >= 500 {
		level = zapcore.ErrorLevel
	}
	if c := h.logger.Check(level, "a request failed behind keep-alive comments"); c != nil {
		c.Write(zap.Stringer("api", x.api), zap.Error(err))
	}
}

// admit reads and scrubs the request and prepares it to be forwarded, or returns
// the refusal.
func (h *Handler) admit(w http.ResponseWriter, r *http.Request, x *Exchange) *refusal {
	dropH2C(r)
	if refused := h.steerHead(r); refused != nil {
		return h.unread(w, r, x, refused)
	}
	if isUpgrade(r) {
		if refused := h.unknown(refuseUpgrade); refused != nil || hasBody(r) || r.Method == http.MethodConnect {
			return refused
		}
	}
	if !hasBody(r) {
		return h.bodyless(r, x.api)
	}
	x.arrival = h.newArrival(w, r)
	x.lease = x.arrival.lease
	body, err := h.readBody(r, x.arrival)
	if err != nil {
		return refusalOf(err)
	}
	x.arrival = nil
	if len(body) == 0 {
		r.Body, r.ContentLength, r.TransferEncoding = http.NoBody, 0, nil
		return h.bodyless(r, x.api)
	}
	understood := false
	defer func() {
		if !understood { // also after a panic: nothing else refers to it
			sensitive.Wipe(body)
		}
	}()
	if refused := h.understand(r, x, body); refused != nil {
		return refused
	}
	understood = true
	forward(r, x)
	return nil
}

// unread returns the refusal of a request whose body, if it has one, was not read.
func (h *Handler) unread(w http.ResponseWriter, r *http.Request, x *Exchange, f *refusal) *refusal {
	if !hasBody(r) {
		return f
	}
	x.arrival = h.newArrival(w, r)
	x.lease = x.arrival.lease
	early := *f
	early.early = true
	return &early
}

// understand parses and scrubs the body. On the paths of known APIs it must be
// JSON. On others its first byte decides, and never the Content-Type, which
// engines ignore too.
func (h *Handler) understand(r *http.Request, x *Exchange, body []byte) *refusal {
	x.bodyRead = true
	if x.api.Dialect().AnyJSON && !looksLikeJSON(body) {
		x.body = body
		return h.unknown(refuseUnknown)
	}
	if err := x.parse(r.Context(), body, h.steering.take); err != nil {
		return refusalOf(err)
	}
	if refused := h.steerBody(x.doc); refused != nil {
		return refused
	}
	if x.doc.TokenIDs {
		if refused := h.unknown(refuseTokens); refused != nil {
			return refused
		}
	}
	return h.scrub(r.Context(), x)
}

// unknown returns f, or nil and counts the request if unknown bodies pass.
func (h *Handler) unknown(f *refusal) *refusal {
	if !h.pass {
		return f
	}
	passedTotal.WithLabelValues(f.reason).Inc()
	return nil
}

// forward gives the request the scrubbed body. It removes the headers that
// described the original one, and those that would bring an answer in a form
// that cannot be restored.
func forward(r *http.Request, x *Exchange) {
	for _, name := range [...]string{
		"Content-Encoding", "Content-Md5", "Digest", "Content-Digest", "Repr-Digest",
		"Trailer", "Expect", "Accept-Encoding",
	} {
		r.Header.Del(name)
	}
	r.Trailer = nil // it came after the body and was not scrubbed
	x.Attach(r)
}

// publish leaves the exchange to the handlers behind this one, and sets the
// placeholders for matchers and logs.
func (h *Handler) publish(r *http.Request, x *Exchange) {
	caddyhttp.SetVar(r.Context(), exchangeVar, x)
	repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	if !ok {
		return
	}
	repl.Set("http.pii_janitor.model", x.model)
	repl.Set("http.pii_janitor.api", x.api.String())
	repl.Set("http.pii_janitor.stream", x.stream)
	repl.Set("http.pii_janitor.findings", x.findings)
}

// refuse counts, logs and sends a refusal.
func (h *Handler) refuse(w http.ResponseWriter, r *http.Request, f *refusal) {
	refusedTotal.WithLabelValues(f.reason).Inc()
	if c := h.logger.Check(zapcore.DebugLevel, "request refused"); c != nil {
		c.Write(zap.String("reason", f.reason), zap.Int("status", f.status))
	}
	f.write(w, r, prompt.ErrorShapeOf(r.URL.Path))
}

// Interface guards
var (
	_ caddy.Module                = (*Handler)(nil)
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddy.Validator             = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
)
