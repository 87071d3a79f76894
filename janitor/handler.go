// SPDX-License-Identifier: Apache-2.0

// Package janitor is the Caddy handler that takes personal data and secrets
// out of LLM requests and puts the client's own values back into its answers.
//
// It leaves an [Exchange] for every request it lets through. From it, and from
// nothing else, comes a [Signature], the hashes of the scrubbed prompt by which
// requests are routed: so nothing that was not scrubbed can be remembered.
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
// and any other JSON) and keeps them from the engines: each value is replaced
// by a placeholder such as `[EMAIL_1]` before the request goes on, and put
// back into the answer for the client that sent it. Placeholders are given in
// the order in which the engine reads the prompt, so that the turns of a
// conversation keep their common prefix and the engine's prefix cache works.
//
// The values are kept in memory only, for as long as the request lasts.
// Everything that cannot be read is refused, not passed on.
//
// It does not claim compliance with any law: names, postal addresses and what
// is spelled out or encoded are not found without recognizers of others.
type Handler struct {
	// What happens to findings: `placeholder` replaces each value by its own
	// placeholder, `redact` all of them by `[REDACTED]`, `block` refuses the
	// request with status 422, `detect` only counts and forwards the original
	// (hashes for routing are made of the redacted text all the same).
	// Default: `placeholder`.
	Mode string `json:"mode,omitempty"`

	// Modes for single entities, by label: `{"SSN": "block"}`. Default: none.
	EntityModes map[string]string `json:"entity_modes,omitempty"`

	// How placeholders are told apart: `numbered` (`[EMAIL_1]`), so that the
	// same prompt of different users shares a prefix, or `keyed`
	// (`[EMAIL_7f3a9c]`, an HMAC under the `kv_aware` app's `hash_key`), stable
	// when the start of a conversation is cut off and across gateways.
	// Default: `numbered`.
	Placeholder string `json:"placeholder,omitempty"`

	// Whether placeholders in the answer become the client's own values again.
	// Secrets stay placeholders unless their entity is named in
	// `restore_entities`. Default: true.
	Restore *bool `json:"restore,omitempty"`

	// The entities to restore, or with a `-` in front, not to. Default: all but
	// secrets.
	RestoreEntities []string `json:"restore_entities,omitempty"`

	// Which recognizers look: plain names replace the default set, `+name` adds
	// to it and `-name` removes from it. A name that is not built in is a module
	// of the namespace `pii_janitor.recognizers`. Default: the default set,
	// shown by `caddy pii-scan --list`.
	Recognizers []string `json:"recognizers,omitempty"`

	// Patterns of your own: from a name, which becomes the entity's label in
	// upper case, to a regular expression in RE2 syntax. Default: none.
	Patterns map[string]string `json:"patterns,omitempty"`

	// Values that are never scrubbed. Default: none.
	Allow []string `json:"allow,omitempty"`

	// What happens to a body that cannot be read for personal data, because it
	// is not JSON, its prompt is token ids, or the connection is upgraded:
	// `refuse` (status 415 or 400) or `pass`, which forwards it as it is,
	// unscrubbed, and counts it. Default: `refuse`.
	Unknown string `json:"unknown,omitempty"`

	// The largest body in bytes, as sent and when decompressed. Larger ones are
	// refused with status 413. Default: 32000000.
	MaxSize int64 `json:"max_size,omitempty"`

	// How many bytes all requests of the process together may hold in bodies
	// that arrive, scrubbed copies, buffered answers and values. They are counted
	// as they arrive. Half of it at most may be held by the unfinished uploads
	// of one client address. When others wait, stalled uploads are given up, then
	// those of the addresses that hold most.
	// Above it requests are refused with status 507. It should be at least twice
	// `max_size`. Default: 512000000.
	InFlightLimit int64 `json:"in_flight_limit,omitempty"`

	// How long a request may wait for room under `in_flight_limit`. Default: 1s.
	AdmitWait caddy.Duration `json:"admit_wait,omitempty"`

	// How long a body may take to arrive. Slower ones are refused with status
	// 408. Default: 30s.
	ReadTimeout caddy.Duration `json:"read_timeout,omitempty"`

	scanner     *pii.Scanner
	mode        mode
	entityModes map[pii.Entity]mode
	restorable  func(pii.Entity) bool
	counters    map[pii.Entity]prometheus.Counter // findings
	keys        hashKeyer                         // nil: numbered
	pass        bool                              // unknown bodies
	queue       *admission.Queue
	logger      *zap.Logger
}

// hashKeyer is what the janitor needs of the kv_aware app: the secret that
// placeholders are keyed with. (It cannot import the app, which imports it.)
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
	if err := h.check(); err != nil {
		return err
	}
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

// ServeHTTP scrubs the request, lets the handlers behind it answer, and
// restores the answer.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	x := &Exchange{janitor: h, api: prompt.ByPath(r.URL.Path), restorable: h.restorable}
	defer x.end(ErrAborted) // counts only after a panic
	if refused := h.admit(w, r, x); refused != nil {
		x.end(ErrAborted) // before the answer is written: the client may be slow to take it
		h.refuse(w, r, refused)
		h.linger(w, r, x.arrival)
		return nil
	}
	h.publish(r, x)
	rw := newResponseWriter(w, r, x)
	defer rw.close()
	err := next.ServeHTTP(rw, r)
	if !rw.finish() {
		panic(http.ErrAbortHandler) // what Caddy does with an answer cut off
	}
	x.end(endOf(r, err))
	return err
}

// endOf is what an observer is told about the end: the proxy's error, or that
// the client has gone.
func endOf(r *http.Request, err error) error {
	if err != nil {
		return err
	}
	return r.Context().Err()
}

// admit decides what happens to the request and, if it may go on, makes it
// ready to.
func (h *Handler) admit(w http.ResponseWriter, r *http.Request, x *Exchange) *refusal {
	dropH2C(r)
	if isUpgrade(r) {
		return h.unknown(refuseUpgrade)
	}
	if !hasBody(r) {
		return nil
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
		return nil
	}
	understood := false
	defer func() {
		if !understood { // also after a panic: nobody has been given it
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

// understand makes the body fit to go on: scrubbed, or known to be let through.
// A path that takes JSON gets JSON or nothing; on others the first byte tells
// whether it is JSON, never the Content-Type, which engines ignore too.
func (h *Handler) understand(r *http.Request, x *Exchange, body []byte) *refusal {
	x.read = true
	if x.api.Dialect().AnyJSON && !looksLikeJSON(body) {
		x.body = body
		return h.unknown(refuseUnknown)
	}
	if err := x.parse(r.Context(), body); err != nil {
		return refusalOf(err)
	}
	if x.doc.TokenIDs {
		if refused := h.unknown(refuseTokens); refused != nil {
			return refused
		}
	}
	return h.scrub(r.Context(), x)
}

// unknown is what happens to what cannot be read for personal data.
func (h *Handler) unknown(f *refusal) *refusal {
	if !h.pass {
		return f
	}
	passedTotal.WithLabelValues(f.reason).Inc()
	return nil
}

// forward makes the request carry the scrubbed body, and takes away what
// described the one that came, or would have the answer come in a form that
// cannot be restored.
func forward(r *http.Request, x *Exchange) {
	for _, name := range [...]string{
		"Content-Encoding", "Content-Md5", "Digest", "Content-Digest", "Repr-Digest",
		"Trailer", "Expect", "Accept-Encoding",
	} {
		r.Header.Del(name)
	}
	r.Trailer = nil // came behind the body and was not looked at
	x.Attach(r)
}

// publish leaves the exchange for the handlers behind, and what is known of the
// request for matchers and logs.
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

// refuse answers in place of the engine.
func (h *Handler) refuse(w http.ResponseWriter, r *http.Request, f *refusal) {
	refusedTotal.WithLabelValues(f.reason).Inc()
	if c := h.logger.Check(zapcore.DebugLevel, "request refused"); c != nil {
		c.Write(zap.String("reason", f.reason), zap.Int("status", f.status))
	}
	f.write(w, r)
}

// Interface guards
var (
	_ caddy.Module                = (*Handler)(nil)
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
)
