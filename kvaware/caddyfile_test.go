// SPDX-License-Identifier: Apache-2.0

package kvaware

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	_ "github.com/caddyserver/caddy/v2/modules/standard"
)

// sameJSON compares two pieces of JSON by value.
func sameJSON(t *testing.T, got, want string) {
	t.Helper()
	var a, b any
	if err := json.Unmarshal([]byte(got), &a); err != nil {
		t.Fatalf("not JSON: %s", got)
	}
	if err := json.Unmarshal([]byte(want), &b); err != nil {
		t.Fatalf("not JSON: %s", want)
	}
	x, _ := json.Marshal(a)
	y, _ := json.Marshal(b)
	if string(x) != string(y) {
		t.Fatalf("got  %s\nwant %s", x, y)
	}
}

func TestPolicyCaddyfile(t *testing.T) {
	for _, c := range []struct{ name, in, want, err string }{
		{name: "bare", in: `kv_aware`, want: `{}`},
		{name: "empty block", in: "kv_aware {\n}", want: `{}`},
		{name: "all", in: `kv_aware {
			radix_depth 3
			block_size 1KiB
			fallback least_busy
			unscrubbed fallback
			usage inject
			tenant {http.auth.user.id}
			cache_salt on
			max_wait 10s
			priority {http.request.header.X-Priority}
			keepalive 15s
			capacity 1500000
			metrics /engine/metrics
			models union
		}`, want: `{"radix_depth":3,"block_size":1024,"fallback":{"policy":"least_conn"},"unscrubbed":"fallback",
			"usage":"inject","tenant":"{http.auth.user.id}","cache_salt":true,"max_wait":10000000000,"priority":"{http.request.header.X-Priority}","keepalive":15000000000,"capacity":1500000,"metrics":"/engine/metrics","models":"union"}`},
		{name: "no metrics", in: "kv_aware {\n metrics off\n}", want: `{"metrics":"off"}`},
		{name: "fallback with an argument", in: "kv_aware {\n fallback header X-Session-Id\n}", want: `{"fallback":{"policy":"header","field":"X-Session-Id"}}`},
		{name: "least_busy nested", in: "kv_aware {\n fallback header X-Session-Id {\n fallback least_busy\n }\n}",
			want: `{"fallback":{"policy":"header","field":"X-Session-Id","fallback":{"policy":"least_conn"}}}`},
		{name: "an option behind a nested block", in: "kv_aware {\n fallback header X {\n fallback first\n }\n radix_depth 1\n}",
			want: `{"radix_depth":1,"fallback":{"policy":"header","field":"X","fallback":{"policy":"first"}}}`},

		{name: "argument", in: `kv_aware 3`, err: "takes a block of options, no arguments"},
		{name: "unknown option", in: "kv_aware {\n depth 3\n}", err: "unrecognized option 'depth': lb_policy kv_aware takes block_size, cache_salt, capacity, eject, events, fallback, keepalive, lmcache, max_wait, metrics, models, priority, radix_depth, tenant, tokenize, unscrubbed, usage"},
		{name: "twice", in: "kv_aware {\n radix_depth 3\n radix_depth 3\n}", err: "radix_depth is given twice"},
		{name: "no value", in: "kv_aware {\n radix_depth\n}", err: "radix_depth takes one argument"},
		{name: "two values", in: "kv_aware {\n radix_depth 1 2\n}", err: "radix_depth takes one argument"},
		{name: "negative depth", in: "kv_aware {\n radix_depth -1\n}", err: "radix_depth takes a number of blocks, 0 or more"},
		{name: "depth of words", in: "kv_aware {\n radix_depth all\n}", err: "radix_depth takes a number of blocks, 0 or more"},
		{name: "negative size", in: "kv_aware {\n block_size -1\n}", err: "block_size takes a size such as 20MB"},
		{name: "small block", in: "kv_aware {\n block_size 63\n}", err: "block_size takes a size from 64 to 65536 bytes"},
		{name: "large block", in: "kv_aware {\n block_size 1MB\n}", err: "block_size takes a size from 64 to 65536 bytes"},
		{name: "unscrubbed", in: "kv_aware {\n unscrubbed pass\n}", err: "unscrubbed takes refuse or fallback"},
		{name: "usage", in: "kv_aware {\n usage on\n}", err: "usage takes observe or inject"},
		{name: "cache_salt", in: "kv_aware {\n cache_salt yes\n}", err: "cache_salt takes on or off"},
		{name: "max_wait of nothing", in: "kv_aware {\n max_wait 0s\n}", err: "max_wait takes a duration above 0 such as 10s"},
		{name: "max_wait in the past", in: "kv_aware {\n max_wait -1s\n}", err: "max_wait takes a duration above 0 such as 10s"},
		{name: "max_wait without a unit", in: "kv_aware {\n max_wait 10\n}", err: "max_wait takes a duration above 0 such as 10s"},
		{name: "max_wait twice", in: "kv_aware {\n max_wait 1s\n max_wait 1s\n}", err: "max_wait is given twice"},
		{name: "no priority", in: "kv_aware {\n priority\n}", err: "priority takes one argument"},
		{name: "empty priority", in: "kv_aware {\n priority \"\"\n}", err: "priority takes a placeholder such as {http.request.header.X-Priority}"},
		{name: "priority twice", in: "kv_aware {\n priority {a}\n priority {b}\n}", err: "priority is given twice"},
		{name: "short keepalive", in: "kv_aware {\n keepalive 999ms\n}", err: "keepalive takes a duration of 1s or more"},
		{name: "keepalive without a unit", in: "kv_aware {\n keepalive 15\n}", err: "keepalive takes a duration of 1s or more"},
		{name: "keepalive twice", in: "kv_aware {\n keepalive 15s\n keepalive 15s\n}", err: "keepalive is given twice"},
		{name: "capacity of nothing", in: "kv_aware {\n capacity 0\n}", err: "capacity takes a number of tokens, 1 or more"},
		{name: "capacity in bytes", in: "kv_aware {\n capacity 20GB\n}", err: "capacity takes a number of tokens, 1 or more"},
		{name: "huge capacity", in: "kv_aware {\n capacity 1000000000001\n}", err: "capacity takes a number of tokens, 1 or more"},
		{name: "capacity twice", in: "kv_aware {\n capacity 1\n capacity 1\n}", err: "capacity is given twice"},
		{name: "metrics on", in: "kv_aware {\n metrics on\n}", err: "metrics takes a path such as /metrics, or off"},
		{name: "metrics elsewhere", in: "kv_aware {\n metrics http://node:9000/metrics\n}", err: "metrics takes a path such as /metrics, or off"},
		{name: "metrics with a query", in: "kv_aware {\n metrics /metrics?a=b\n}", err: "metrics takes a path such as /metrics, or off"},
		{name: "models", in: "kv_aware {\n models off\n}", want: `{"models":"off"}`},
		{name: "models on", in: "kv_aware {\n models on\n}", err: "models takes union or off"},
		{name: "no models", in: "kv_aware {\n models\n}", err: "models takes one argument"},
		{name: "models twice", in: "kv_aware {\n models off\n models union\n}", err: "models is given twice"},
		{name: "no path", in: "kv_aware {\n metrics\n}", err: "metrics takes one argument"},
		{name: "no fallback", in: "kv_aware {\n fallback\n}", err: "fallback takes the name of a load balancing policy"},
		{name: "unknown fallback", in: "kv_aware {\n fallback fastest\n}", err: "fallback: 'fastest' is not a load balancing policy"},
		{name: "itself", in: "kv_aware {\n fallback kv_aware\n}", err: "kv_aware cannot be its own fallback"},
		{name: "fallback twice", in: "kv_aware {\n fallback first\n fallback first\n}", err: "fallback is given twice"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var p Policy
			err := p.UnmarshalCaddyfile(caddyfile.NewTestDispenser(c.in))
			checkParse(t, &p, err, c.want, c.err)
		})
	}
}

func TestAppCaddyfile(t *testing.T) {
	for _, c := range []struct{ name, in, want, err string }{
		{name: "bare", in: `kv_aware`, want: `{}`},
		{name: "all", in: "kv_aware {\n memory_limit 20MB\n hash_key {env.KV_HASH_KEY}\n volatile_only off\n}",
			want: `{"memory_limit":20000000,"hash_key":"{env.KV_HASH_KEY}","volatile_only":"off"}`},
		{name: "binary size", in: "kv_aware {\n memory_limit 20MiB\n}", want: `{"memory_limit":20971520}`},
		{name: "argument", in: `kv_aware on`, err: "takes a block of options, no arguments"},
		{name: "unknown option", in: "kv_aware {\n memory 20MB\n}", err: "unrecognized option 'memory': kv_aware takes hash_key, memory_limit, volatile_only"},
		{name: "negative size", in: "kv_aware {\n memory_limit -20MB\n}", err: "memory_limit takes a size such as 20MB"},
		{name: "small size", in: "kv_aware {\n memory_limit 1KB\n}", err: "memory_limit takes a size of at least 1000000 bytes (1MB)"},
		{name: "size of words", in: "kv_aware {\n memory_limit much\n}", err: "memory_limit takes a size such as 20MB"},
		{name: "twice", in: "kv_aware {\n memory_limit 20MB\n memory_limit 20MB\n}", err: "memory_limit is given twice"},
		{name: "volatile_only", in: "kv_aware {\n volatile_only maybe\n}", err: "volatile_only takes require, best_effort or off"},
		{name: "volatile_only require", in: "kv_aware {\n volatile_only require\n}", want: `{"volatile_only":"require"}`},
		{name: "volatile_only best_effort", in: "kv_aware {\n volatile_only best_effort\n}", want: `{"volatile_only":"best_effort"}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			var a App
			err := a.UnmarshalCaddyfile(caddyfile.NewTestDispenser(c.in))
			checkParse(t, &a, err, c.want, c.err)
		})
	}
}

func checkParse(t *testing.T, v any, err error, want, wantErr string) {
	t.Helper()
	switch {
	case wantErr == "" && err != nil:
		t.Fatalf("unexpected error: %v", err)
	case wantErr != "" && (err == nil || !strings.Contains(err.Error(), wantErr)):
		t.Fatalf("error %v, want one that says %q", err, wantErr)
	case wantErr == "":
		got, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		sameJSON(t, string(got), want)
	}
}

func TestGlobalOptionTwice(t *testing.T) {
	_, _, err := caddyfile.Adapter{ServerType: httpcaddyfile.ServerType{}}.Adapt(
		[]byte("{\n kv_aware {\n memory_limit 1MB\n }\n kv_aware {\n memory_limit 2MB\n }\n}\n"), nil)
	if err == nil || !strings.Contains(err.Error(), "kv_aware is configured twice") {
		t.Fatalf("error %v", err)
	}
}

// What is refused in the Caddyfile is refused in JSON as well.
func TestProvisionErrors(t *testing.T) {
	for _, c := range []struct{ name, app, policy, err string }{
		{name: "defaults"},
		{name: "negative limit", app: `{"memory_limit":-1}`, err: "memory_limit takes a size of at least 1000000 bytes"},
		{name: "empty key", app: `{"hash_key":""}`, err: "hash_key is set but empty"},
		{name: "unset variable", app: `{"hash_key":"{env.KV_AWARE_TEST_UNSET}"}`, err: "hash_key is set but empty"},
		{name: "short key", app: `{"hash_key":"0123456789"}`, err: "hash_key takes at least 16 bytes"},
		{name: "volatile_only", app: `{"volatile_only":"maybe"}`, err: "volatile_only takes require, best_effort or off"},
		{name: "volatile_only best_effort", app: `{"volatile_only":"best_effort"}`},
		{name: "volatile_only require", app: `{"volatile_only":"require"}`},
		{name: "unknown field", app: `{"memory":1}`, err: `unknown field "memory"`},
		{name: "negative depth", policy: `{"radix_depth":-1}`, err: "radix_depth takes a number of blocks, 0 or more"},
		{name: "negative block", policy: `{"block_size":-1}`, err: "block_size takes a size from 64 to 65536 bytes"},
		{name: "unscrubbed", policy: `{"unscrubbed":"yes"}`, err: "unscrubbed takes refuse or fallback"},
		{name: "usage", policy: `{"usage":"yes"}`, err: "usage takes observe or inject"},
		{name: "salt without tenant", policy: `{"cache_salt":true}`, err: "cache_salt needs tenant"},
		{name: "negative max_wait", policy: `{"max_wait":"-1s"}`, err: "max_wait takes a duration above 0 such as 10s"},
		{name: "max_wait", policy: `{"max_wait":"10s","priority":"{http.request.header.X-Priority}"}`},
		{name: "priority alone", policy: `{"priority":"{http.request.header.X-Priority}"}`},
		{name: "short keepalive", policy: `{"keepalive":"999ms"}`, err: "keepalive takes a duration of 1s or more"},
		{name: "negative keepalive", policy: `{"keepalive":"-15s"}`, err: "keepalive takes a duration of 1s or more"},
		{name: "keepalive", policy: `{"keepalive":"1s"}`},
		{name: "negative capacity", policy: `{"capacity":-1}`, err: "capacity takes a number of tokens"},
		{name: "huge capacity", policy: `{"capacity":1000000000001}`, err: "capacity takes a number of tokens"},
		{name: "capacity and no metrics", policy: `{"capacity":1000,"metrics":"off"}`},
		{name: "metrics", policy: `{"metrics":"metrics"}`, err: "metrics takes a path such as /metrics, or off"},
		{name: "models", policy: `{"models":"all"}`, err: "models takes union or off"},
		{name: "metrics with a space", policy: `{"metrics":"/metrics x"}`, err: "metrics takes a path such as /metrics, or off"},
		{name: "unknown fallback", policy: `{"fallback":{"policy":"fastest"}}`, err: "loading the fallback policy"},
		{name: "itself", policy: `{"fallback":{"policy":"kv_aware"}}`, err: "kv_aware cannot be its own fallback"},
		{name: "least_busy", policy: `{"fallback":{"policy":"least_busy"}}`},
		{name: "least_busy nested", policy: `{"fallback":{"policy":"header","field":"X","fallback":{"policy":"least_busy"}}}`},
		{name: "unknown field in the policy", policy: `{"depth":1}`, err: `unknown field "depth"`},
		{name: "LMCache's legacy controller", policy: `{"lmcache":{"controller":"http://c:9000"}}`, err: `unknown field "controller"`},
		{name: "several wrong options", policy: `{"radix_depth":-1,"usage":"guess"}`, err: "radix_depth takes a number of blocks, 0 or more"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := caddy.Validate(configOf(t, c.app, c.policy))
			switch {
			case c.err == "" && err != nil:
				t.Fatal(err)
			case c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)):
				t.Fatalf("error %v, want one that says %q", err, c.err)
			}
			if s := runningShared(); s != nil {
				t.Fatal("a config that was only validated has left its state behind")
			}
		})
	}
}

// configOf returns a whole config with an app and a policy.
func configOf(t *testing.T, app, policy string) *caddy.Config {
	t.Helper()
	if app == "" {
		app = "{}"
	}
	if policy == "" {
		policy = "{}"
	}
	policy = `{"policy":"kv_aware"` + strings.TrimSuffix(","+policy[1:], ",}")
	if !strings.HasSuffix(policy, "}") {
		policy += "}"
	}
	var c caddy.Config
	if err := json.Unmarshal([]byte(`{
		"admin": {"disabled": true, "config": {"persist": false}},
		"apps": {
			"kv_aware": `+app+`,
			"http": {"servers": {"s": {"listen": ["127.0.0.1:0"], "automatic_https": {"disable": true}, "routes": [{"handle": [
				{"handler": "reverse_proxy", "upstreams": [{"dial": "127.0.0.1:1"}], "load_balancing": {"selection_policy": `+policy+`}}
			]}]}}}
		}
	}`), &c); err != nil {
		t.Fatal(err)
	}
	return &c
}
