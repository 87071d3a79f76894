// SPDX-License-Identifier: Apache-2.0

package kvaware

import (
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

func TestLMCacheCaddyfile(t *testing.T) {
	for _, c := range []struct{ name, in, want, err string }{
		{name: "nodes", in: "http://{http.reverse_proxy.upstream.host}:8080 {\n wait 100ms\n warm_gpu on\n}",
			want: `{"lmcache":{"address":"http://{http.reverse_proxy.upstream.host}:8080","wait":100000000,"warm_gpu":true}}`},
		{name: "as it is", in: "http://{http.reverse_proxy.upstream.host}:8080 {\n wait 0s\n warm_gpu off\n}",
			want: `{"lmcache":{"address":"http://{http.reverse_proxy.upstream.host}:8080"}}`},
		{name: "coordinator", in: "coordinator http://coordinator:9300", want: `{"lmcache":{"coordinator":"http://coordinator:9300"}}`},

		{name: "one host", in: "http://{http.reverse_proxy.upstream.host}:+1000", want: `{"lmcache":{"address":"http://{http.reverse_proxy.upstream.host}:+1000"}}`},
		{name: "a coordinator for each upstream", in: "coordinator http://{http.reverse_proxy.upstream.host}:9300", err: "takes no placeholders"},
		{name: "a coordinator at a relative port", in: "coordinator http://coordinator:+1000", err: "no relative port"},

		{name: "nowhere", in: "", err: "lmcache takes a URL such as"},
		{name: "controller", in: "controller http://controller:9000", err: "lmcache coordinator <url>"},
		{name: "two URLs", in: "http://a:1 http://b:1", err: "lmcache takes a URL such as"},
		{name: "over ZeroMQ", in: "tcp://a:5555", err: "lmcache takes a URL such as"},
		{name: "with a password", in: "http://a:b@c:80", err: "lmcache takes a URL such as"},
		{name: "forever", in: "http://a:1 {\n wait 2m\n}", err: "lmcache: wait takes a duration from 0s to 1m"},
		{name: "a number", in: "http://a:1 {\n wait 100\n}", err: "lmcache: wait takes a duration from 0s to 1m"},
		{name: "warm", in: "http://a:1 {\n warm_gpu yes\n}", err: "lmcache: warm_gpu takes on or off"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var p Policy
			err := p.UnmarshalCaddyfile(caddyfile.NewTestDispenser("kv_aware {\n lmcache " + c.in + "\n}"))
			checkParse(t, &p, err, c.want, c.err)
		})
	}
}
