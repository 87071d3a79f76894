// SPDX-License-Identifier: Apache-2.0

package kvaware

import (
	"encoding/json"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// leastBusy is this product's word for Caddy's leastConn policy.
const (
	leastBusy = "least_busy"
	leastConn = "least_conn"
)

// readLeastBusy replaces least_busy by least_conn in a policy's JSON and in
// that of the fallbacks nested in it. JSON it does not understand comes back
// as it is, for Caddy to complain about.
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

// renameLeastBusy does the same for the tokens of a Caddyfile segment that
// begins with a policy's name: there, and behind each nested fallback.
func renameLeastBusy(segment caddyfile.Segment) {
	for i := range segment {
		if segment[i].Text == leastBusy && (i == 0 || segment[i-1].Text == "fallback") {
			segment[i].Text = leastConn
		}
	}
}
