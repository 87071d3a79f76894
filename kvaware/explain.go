// SPDX-License-Identifier: Apache-2.0

package kvaware

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/bauxite/caddy-kvaware/internal/routing"
	"github.com/bauxite/caddy-kvaware/janitor"
)

const explainPath = "/kv_aware/explain"

// routed holds the candidates of a policy's last request, and its janitor: the
// config does not name dynamic upstreams.
type routed struct {
	janitor   *janitor.Handler
	upstreams reverseproxy.UpstreamPool
}

// recordRouted remembers the candidates of a request, where the config does not
// name them. It allocates only when they have changed.
func (p *Policy) recordRouted(j *janitor.Handler, c *candidates, r *http.Request) {
	if place := p.observed.place.Load(); place.isStatic() && place.janitor != nil {
		return
	}
	same := func(u *reverseproxy.Upstream, s routing.Candidate) bool { return u.Dial == s.Address }
	last := p.observed.lastRouted.Load()
	if last != nil && last.janitor == j && slices.EqualFunc(last.upstreams, c.scored, same) {
		return
	}
	now := &routed{janitor: j}
	for i, s := range c.scored {
		now.upstreams = append(now.upstreams, &reverseproxy.Upstream{Host: c.upstreams[i].Host, Dial: s.Address})
	}
	p.observed.lastRouted.Store(now)
}

// explainable returns the janitor and the upstreams of a policy.
func (p *Policy) explainable() (*routed, error) {
	var e routed
	if last := p.observed.lastRouted.Load(); last != nil {
		e = *last
	}
	if place := p.observed.place.Load(); place != nil {
		e.janitor = cmp.Or(place.janitor, e.janitor)
		if place.isStatic() {
			e.upstreams = place.upstreams
		}
	}
	switch {
	case e.upstreams == nil:
		return nil, apiError(http.StatusConflict, "the upstreams are dynamic and no request has been routed yet: none of them is known")
	case e.janitor == nil:
		return nil, apiError(http.StatusConflict, "no pii_janitor is known to run ahead of this policy: nothing can be signed")
	}
	return &e, nil
}

// explanation names the upstream that a policy would pick for a request now, and
// the reason.
type explanation struct {
	Upstream     string             `json:"upstream,omitempty"`
	Reason       string             `json:"reason"`
	Note         string             `json:"note,omitempty"` // why nothing is predicted
	PromptTokens int                `json:"prompt_tokens"`  // as estimated
	Findings     int                `json:"findings"`       // values that the janitor would replace
	Upstreams    []upstreamForecast `json:"upstreams"`      // soonest first
}

type upstreamForecast struct {
	Address      string  `json:"address"`
	CachedTokens int     `json:"cached_tokens"`
	External     int     `json:"external_tokens"` // of these, to be loaded from outside its GPU, such as by LMCache
	WaitMS       float64 `json:"wait_ms"`         // until the prefill queued there is done
	BacklogMS    float64 `json:"backlog_ms"`      // the same by the engine's reports; max_wait takes the longer of both
	LoadMS       float64 `json:"load_ms"`         // of the external tokens
	PrefillMS    float64 `json:"prefill_ms"`      // of the uncached tokens
	TTFTMS       float64 `json:"ttft_ms"`         // wait, load and prefill
	Requests     int     `json:"requests"`        // in flight there

	// State is the part that the upstream takes in routing: ready, returning,
	// half-open, limited or ejected.
	State   string `json:"state"`
	LeftOut bool   `json:"left_out"` // it takes no request now; nothing is predicted for it

	Lineage string `json:"lineage,omitempty"` // first name of the model there; none: the request names it
	Parent  string `json:"parent,omitempty"`  // the model there that the named LoRA adapter belongs to; none: no adapter

	// Added to the score, and no part of the TTFT: the time by which the requests
	// there delay the end of the answer, and the expected cost of failures there.
	DecodeDelayMS float64 `json:"decode_delay_ms"`
	PenaltyMS     float64 `json:"penalty_ms"`
}

// serveExplain takes the body of a request as clients send it and answers with
// its explanation. Nothing is sent, reserved or recorded.
func serveExplain(s *shared, w http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodPost {
		return apiError(http.StatusMethodNotAllowed, "this path takes POST")
	}
	path := cmp.Or(r.URL.Query().Get("path"), "/v1/chat/completions")
	if !strings.HasPrefix(path, "/") {
		return apiError(http.StatusBadRequest, "path takes a path such as /v1/chat/completions")
	}
	policies := s.joined()
	switch {
	case len(policies) == 0:
		return apiError(http.StatusConflict, "the config has no kv_aware policy")
	case len(policies) > 1:
		return apiError(http.StatusConflict, "the config has several kv_aware policies: explain is for one")
	}
	asked := r.Clone(r.Context())
	asked.URL.Path = path
	answer, err := policies[0].explain(w, asked, r.URL.Query().Get("tenant"))
	if err != nil {
		if refused, ok := err.(caddyhttp.HandlerError); ok {
			return caddy.APIError{HTTPStatus: refused.StatusCode, Err: refused.Err}
		}
		return err
	}
	return writeJSON(w, answer)
}

// explain predicts the upstream of a request.
func (p *Policy) explain(w http.ResponseWriter, r *http.Request, tenant string) (*explanation, error) {
	known, err := p.explainable()
	if err != nil {
		return nil, err
	}
	r = r.WithContext(context.WithValue(r.Context(), caddy.ReplacerCtxKey, caddy.NewReplacer()))
	answer := &explanation{Reason: string(routing.Fallback), Upstreams: []upstreamForecast{}}
	err = known.janitor.Examine(w, r, func(x *janitor.Exchange) {
		answer.Findings = x.Findings()
		signing := p.shared.signing.Load()
		named := p.tenantNamed(tenant, signing.key)
		signed := p.sign(x, named, signing, known.upstreams, r)
		if !signed.signed() {
			p.explainUnsigned(answer, x, known.upstreams, r)
			return
		}
		p.limitWait(&signed, x, named, r)
		serving := p.filterByModel(known.upstreams, x.API().String(), x.Model(), r)
		c := p.candidates(serving, nil, r)
		defer c.release()
		p.identify(&signed, x, c.scored)
		p.forecast(answer, &signed, c.scored)
		p.addLeftOut(answer, serving, r)
	})
	return answer, err
}

// Why nothing is predicted for a request.
const (
	noteContinues = "the prompt continues what one engine has stored: the request does not show all of it, and engines do not render it"
	noteUnsigned  = "the request has no prompt of text that an engine keeps in its KV cache"
)

// explainUnsigned fills in where a request without a signature would go: to the
// upstream that has the stored response to which it refers. Any other is for the
// fallback.
func (p *Policy) explainUnsigned(answer *explanation, x *janitor.Exchange, pool reverseproxy.UpstreamPool, r *http.Request) {
	answer.Note = noteUnsigned
	if x.Continues() {
		answer.Note = noteContinues
	}
	serving := p.filterByModel(pool, x.API().String(), x.Model(), r)
	if u := p.holder(serving, x.StoredResponse(), nil, r); u != nil {
		answer.Upstream, answer.Reason = address(u, r), string(stored)
	}
}

// forecast fills in the decision and the predictions for each candidate.
func (p *Policy) forecast(answer *explanation, s *signedRequest, candidates []routing.Candidate) {
	prompt := s.stagingPrompt()
	offloads, _ := p.stager.Consult(&prompt, candidates, nil)
	stored := slices.ContainsFunc(offloads, func(o routing.Offload) bool { return o.Storage > 0 })
	forecasts, d := s.request.Explain(candidates)
	answer.PromptTokens = s.request.Tokens()
	if d.Reason == routing.Overload {
		answer.Reason = string(d.Reason)
	}
	if d.Pick >= 0 && (d.Reason != routing.Cold || stored || !p.coldFallback) {
		answer.Upstream, answer.Reason = candidates[d.Pick].Address, string(d.Reason)
	}
	for _, f := range forecasts {
		lineage, parent := s.lineages.shown(f.Address)
		answer.Upstreams = append(answer.Upstreams, upstreamForecast{
			Address:      f.Address,
			CachedTokens: f.Cached,
			External:     f.External,
			WaitMS:       f.Wait.Seconds() * 1000,
			BacklogMS:    f.Backlog.Seconds() * 1000,
			LoadMS:       f.Load.Seconds() * 1000,
			PrefillMS:    f.Prefill.Seconds() * 1000,
			TTFTMS:       (f.Wait + f.Load + f.Prefill).Seconds() * 1000,
			Requests:     f.InFlight,
			State:        p.shared.outliers.State(f.Address).String(),
			Lineage:      lineage,
			Parent:       parent,

			DecodeDelayMS: f.DecodeDelay.Seconds() * 1000,
			PenaltyMS:     f.Penalty.Seconds() * 1000,
		})
	}
	slices.SortStableFunc(answer.Upstreams, func(a, b upstreamForecast) int { return cmp.Compare(a.TTFTMS, b.TTFTMS) })
}

// addLeftOut adds the available upstreams that take no request now, because they
// fail or are busy.
func (p *Policy) addLeftOut(answer *explanation, pool reverseproxy.UpstreamPool, r *http.Request) {
	for _, u := range pool {
		at := address(u, r)
		listed := func(f upstreamForecast) bool { return f.Address == at }
		if p.available(u) && !slices.ContainsFunc(answer.Upstreams, listed) {
			answer.Upstreams = append(answer.Upstreams, upstreamForecast{
				Address: at, State: p.shared.outliers.State(at).String(), LeftOut: true, Requests: u.NumRequests(),
			})
		}
	}
}
