// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"fmt"

	"github.com/bauxite/caddy-kvaware/internal/sim/enginesim"
)

// UpstreamHost begins an events address on the host of each upstream.
const UpstreamHost = "tcp://{http.reverse_proxy.upstream.host}:"

// PolicySite returns a Caddyfile for these engines whose policy has these
// options. Answers carry the prediction.
func PolicySite(engines []*enginesim.Engine, options string) string {
	return fmt.Sprintf(":8080 {\n%s}", PolicyRoute(engines, options))
}

// PolicyRoute returns the directives of PolicySite.
func PolicyRoute(engines []*enginesim.Engine, options string) string {
	return fmt.Sprintf("pii_janitor\nheader >X-Predicted {http.kv_aware.match_tokens}\nreverse_proxy %s {\nlb_policy kv_aware {\n%s\n}\n}\n",
		Addresses(engines), options)
}

// EventsOption returns the option that follows the engines' events with replay,
// for a number of ranks. All engines publish at the ports of e.
func EventsOption(e *enginesim.Engine, ranks int) string {
	return fmt.Sprintf("events %s%s {\nreplay %s%s\nranks %d\n}", UpstreamHost, PortOf(e.EventsAddr(0)), UpstreamHost, PortOf(e.ReplayAddr(0)), ranks)
}

// LMCacheOption begins the option for LMCache nodes beside the engines.
const LMCacheOption = "lmcache http://{http.reverse_proxy.upstream.host}:"

// StagingSite returns a Caddyfile for these nodes whose policy has these
// options and retries twice.
func StagingSite(nodes []StagingNode, options string) string {
	return fmt.Sprintf(":8080 {\n pii_janitor\n reverse_proxy %s {\n lb_retries 2\n lb_retry_match {\n method POST\n }\n lb_policy kv_aware {\n %s\n }\n }\n}", Addresses(EnginesOf(nodes)), options)
}
