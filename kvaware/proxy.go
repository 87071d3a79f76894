// SPDX-License-Identifier: Apache-2.0

package kvaware

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"go.uber.org/zap"

	"github.com/bauxite/caddy-kvaware/internal/modelunion"
	"github.com/bauxite/caddy-kvaware/internal/outlier"
	"github.com/bauxite/caddy-kvaware/internal/transport"
)

// defaultRetries is the number of retries when the user configures none.
const defaultRetries = 2

// retryExpression is the retry matcher that goes with it. It has to name a
// placeholder of the answer, or Caddy asks it about failed connections only.
const retryExpression = `{` + transport.RetryPlaceholder + `} == true && {http.reverse_proxy.status_code} != 0`

// wrapProxy puts the policy's transport around that of its proxy, and turns on
// retries when the user has configured none. Caddy provisions a proxy's transport
// before its selection policy, and the rest after it.
func (p *Policy) wrapProxy(ctx caddy.Context) error {
	h := proxyOf(ctx)
	if h == nil {
		p.logger.Warn("kv_aware is not the selection policy of a reverse_proxy: failures are not seen")
		return nil
	}
	if h.Transport == nil {
		own := new(reverseproxy.HTTPTransport)
		if err := own.Provision(ctx); err != nil {
			return fmt.Errorf("provisioning the default transport: %v", err)
		}
		h.Transport, p.ownTransport = own, own
	}
	watched := &transport.Transport{
		Base:   h.Transport,
		Budget: outlier.NewBudget(p.shared.now),
		Logger: p.logger,
		Now:    p.shared.now,
		Tries:  p.triesOf,
	}
	if p.Models == modelsUnion {
		watched.Intercept = p.uniteModels(modelunion.New(watched.Base))
	}
	h.Transport = watched
	p.retries = p.setRetries(h.LoadBalancing)
	return nil
}

// proxyOf returns the proxy that a policy is provisioned for, nil for none.
func proxyOf(ctx caddy.Context) *reverseproxy.Handler {
	for _, module := range slices.Backward(ctx.Modules()) {
		if h, ok := module.(*reverseproxy.Handler); ok && h.LoadBalancing != nil {
			return h
		}
	}
	return nil
}

// setRetries returns the number of retries that the proxy makes. It turns them on
// when the user has configured none of Caddy's options for them.
func (p *Policy) setRetries(lb *reverseproxy.LoadBalancing) int {
	switch {
	case lb.Retries > 0:
		return lb.Retries
	case lb.TryDuration > 0:
		return math.MaxInt
	case len(lb.RetryMatchRaw) > 0:
		return 0
	}
	expression, _ := json.Marshal(retryExpression) // a string
	lb.Retries = defaultRetries
	lb.RetryMatchRaw = caddyhttp.RawMatcherSets{{"expression": expression}}
	p.logger.Info("requests that fail are retried at up to two other upstreams; lb_retries, lb_try_duration or lb_retry_match replace this",
		zap.Int("lb_retries", defaultRetries))
	return defaultRetries
}
