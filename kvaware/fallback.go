// SPDX-License-Identifier: Apache-2.0

package kvaware

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// least_busy is this product's word for Caddy's least_conn policy.
const (
	leastBusy = "least_busy"
	leastConn = "least_conn"
)

var errOwnFallback = errors.New("fallback: kv_aware cannot be its own fallback")

// loadFallback loads the fallback policy. Any policy but least_conn also
// decides for prompts that match nothing.
func (p *Policy) loadFallback(ctx caddy.Context) error {
	if p.FallbackRaw == nil {
		p.FallbackRaw = caddyconfig.JSONModuleObject(reverseproxy.LeastConnSelection{}, "policy", leastConn, nil)
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
		return errOwnFallback
	default:
		p.coldFallback = true
	}
	return nil
}

// parseFallback reads `fallback <policy> [<args>...] [{ ... }]`.
func (p *Policy) parseFallback(d *caddyfile.Dispenser, o options) error {
	if err := o.note(d); err != nil {
		return err
	}
	if !d.NextArg() {
		return d.Err("fallback takes the name of a load balancing policy")
	}
	segment := d.NextSegment()
	renameLeastBusy(segment)
	name := segment[0].Text
	if name == "kv_aware" {
		return d.WrapErr(errOwnFallback)
	}
	sub := caddyfile.NewDispenser(segment)
	sub.Next()
	module, err := caddyfile.UnmarshalModule(sub, "http.reverse_proxy.selection_policies."+name)
	if err != nil {
		return d.Errf("fallback: '%s' is not a load balancing policy, or its arguments are wrong: %v", name, err)
	}
	selector, ok := module.(reverseproxy.Selector)
	if !ok {
		return d.Errf("fallback: '%s' is not a load balancing policy", name)
	}
	p.FallbackRaw = caddyconfig.JSONModuleObject(selector, "policy", name, nil)
	return nil
}

// readLeastBusy replaces least_busy by least_conn in a policy's JSON and in the
// fallbacks nested in it. It returns JSON that it does not understand
// unchanged, for Caddy to report.
func readLeastBusy(raw json.RawMessage) json.RawMessage {
	var policy map[string]json.RawMessage
	if json.Unmarshal(raw, &policy) != nil {
		return raw
	}
	changed := false
	if string(policy["policy"]) == `"`+leastBusy+`"` {
		policy["policy"] = json.RawMessage(`"` + leastConn + `"`)
		changed = true
	}
	if nested, ok := policy["fallback"]; ok {
		read := readLeastBusy(nested)
		changed = changed || string(read) != string(nested)
		policy["fallback"] = read
	}
	if !changed {
		return raw
	}
	out, err := json.Marshal(policy)
	if err != nil {
		return raw
	}
	return out
}

// renameLeastBusy does the same in the tokens of a Caddyfile segment that begins
// with a policy's name: there, and behind each nested fallback.
func renameLeastBusy(segment caddyfile.Segment) {
	for i := range segment {
		if segment[i].Text == leastBusy && (i == 0 || segment[i-1].Text == "fallback") {
			segment[i].Text = leastConn
		}
	}
}
