// SPDX-License-Identifier: Apache-2.0

package kvaware

import (
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

func TestEventsCaddyfile(t *testing.T) {
	const host = "tcp://{http.reverse_proxy.upstream.host}"
	for _, c := range []struct{ name, in, want, err string }{
		{name: "address", in: "events " + host + ":5557", want: `{"events":{"address":"` + host + `:5557"}}`},
		{name: "all", in: "events " + host + ":5557 {\n replay " + host + ":5567\n ranks 4\n tier_weight gpu 1.0 cpu 0.8 disk 0.3\n}\n tokenize after",
			want: `{"events":{"address":"` + host + `:5557","replay":"` + host + `:5567","ranks":4,"tier_weight":{"gpu":1,"cpu":0.8,"disk":0.3}},"tokenize":"after"}`},
		{name: "one host", in: "events " + host + ":+1000 {\n replay " + host + ":+2000\n}", want: `{"events":{"address":"` + host + `:+1000","replay":"` + host + `:+2000"}}`},
		{name: "no port behind the plus", in: "events " + host + ":+", err: "events takes an address such as"},
		{name: "listen at a relative port", in: "events listen tcp://0.0.0.0:+1000", err: "events takes an address such as"},
		{name: "relative ranks that overlap", in: "events " + host + ":+1000 {\n replay " + host + ":+1001\n ranks 2\n}", err: "must be at least that many apart"},
		{name: "listen", in: "events listen tcp://0.0.0.0:5557", want: `{"events":{"listen":"tcp://0.0.0.0:5557"}}`},
		{name: "behind a block", in: "events " + host + ":5557 {\n ranks 2\n}\n radix_depth 1", want: `{"events":{"address":"` + host + `:5557","ranks":2},"radix_depth":1}`},
		{name: "inline", in: "tokenize inline 50ms", want: `{"tokenize":"inline","tokenize_deadline":50000000}`},
		{name: "inline as it is", in: "tokenize inline", want: `{"tokenize":"inline"}`},

		{name: "nowhere", in: "events", err: "events takes an address such as"},
		{name: "over HTTP", in: "events http://{http.reverse_proxy.upstream.host}:5557", err: "events takes an address such as"},
		{name: "no port", in: "events " + host, err: "events takes an address such as"},
		{name: "no scheme", in: "events node-a:5557", err: "events takes an address such as"},
		{name: "another placeholder", in: "events tcp://{http.request.host}:5557", err: "events takes an address such as"},
		{name: "listen nowhere", in: "events listen", err: "events takes an address such as"},
		{name: "replay over HTTP", in: "events " + host + ":5557 {\n replay http://a:1\n}", err: "events: replay takes an address such as"},
		{name: "replay of listeners", in: "events listen tcp://0.0.0.0:5557 {\n replay " + host + ":5567\n}", err: "engines that connect to the gateway cannot be asked"},
		{name: "no ranks", in: "events " + host + ":5557 {\n ranks 0\n}", err: "events: ranks takes a number from 1 to 256"},
		{name: "ranks that overlap", in: "events " + host + ":5557 {\n replay " + host + ":5558\n ranks 2\n}", err: "must be at least that many apart"},
		{name: "ranks side by side", in: "events " + host + ":5557 {\n replay " + host + ":5559\n ranks 2\n}",
			want: `{"events":{"address":"` + host + `:5557","replay":"` + host + `:5559","ranks":2}}`},
		{name: "unknown tier", in: "events " + host + ":5557 {\n tier_weight tape 1\n}", err: "tier_weight takes gpu, cpu and disk"},
		{name: "heavy tier", in: "events " + host + ":5557 {\n tier_weight cpu 1.5\n}", err: "tier_weight takes gpu, cpu and disk"},
		{name: "NaN", in: "events " + host + ":5557 {\n tier_weight cpu NaN\n}", err: "tier_weight takes gpu, cpu and disk"},
		{name: "a tier twice", in: "events " + host + ":5557 {\n tier_weight cpu 1 cpu 1\n}", err: "tier_weight takes gpu, cpu and disk"},
		{name: "twice", in: "events " + host + ":5557\n events " + host + ":5557", err: "events is given twice"},
		{name: "unknown option", in: "events " + host + ":5557 {\n rank 1\n}", err: "unrecognized option 'rank': events takes ranks, replay, tier_weight"},
		{name: "tokenize sometimes", in: "tokenize sometimes", err: "tokenize takes after, inline with at most 10s to wait, or off"},
		{name: "after and a time", in: "tokenize after 10ms", err: "tokenize takes after"},
		{name: "too long", in: "tokenize inline 11s", err: "tokenize takes after"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var p Policy
			err := p.UnmarshalCaddyfile(caddyfile.NewTestDispenser("kv_aware {\n" + c.in + "\n}"))
			checkParse(t, &p, err, c.want, c.err)
		})
	}
}

// Placeholders such as {env.NAME} are replaced before addresses are derived.
func TestExpandedEvents(t *testing.T) {
	t.Setenv("EVENTS_PORT", "5557")
	e := Events{Address: "tcp://{http.reverse_proxy.upstream.host}:{env.EVENTS_PORT}"}
	if err := e.check(); err != nil {
		t.Fatal(err)
	}
	got := e.expanded().following().Publishers("node-a:8000")
	if len(got) != 1 || got[0].Events != "node-a:5557" {
		t.Errorf("got %v", got)
	}
}
