// SPDX-License-Identifier: Apache-2.0

package kvaware

import (
	"strings"
	"testing"
)

func TestEndpoint(t *testing.T) {
	t.Setenv("EVENTS_PORT", "5557")
	const host = "tcp://{http.reverse_proxy.upstream.host}"
	for _, c := range []struct{ endpoint, upstream, want string }{
		{host + ":5557", "node-a:8000", "node-a:5557"},
		{host + ":5557", "[fe80::1]:8000", "[fe80::1]:5557"},
		{host + ":{env.EVENTS_PORT}", "node-a:8000", "node-a:5557"},
		{host + ":{http.reverse_proxy.upstream.port}", "node-a:8000", "node-a:8000"},
		{"tcp://{http.reverse_proxy.upstream.hostport}", "node-a:8000", "node-a:8000"},
		{"tcp://{http.reverse_proxy.upstream.address}", "[::1]:8000", "[::1]:8000"},
		{"tcp://events.example.com:1", "node-a:8000", "events.example.com:1"},
		{host + ":5557", "unix//run/engine", ""},
		{host + ":5557", "user@node-a:8000", ""},
		{host + ":5557", "node-a/x?:8000", ""},
		{host, "node-a:8000", ""},
		{host + ":0", "node-a:8000", ""},
		{host + ":65536", "node-a:8000", ""},
		{host + ":5557?x=1", "node-a:8000", ""},
		{host + ":5557#x", "node-a:8000", ""},
		{"http" + host[3:] + ":5557", "node-a:8000", ""},
		{"{http.request.host}:5557", "node-a:8000", ""},
	} {
		got := ""
		if u := endpoint(c.endpoint).known().of(c.upstream, "tcp"); u != nil {
			got = u.Host
		}
		if got != c.want {
			t.Errorf("%s of %s is %q, want %q", c.endpoint, c.upstream, got, c.want)
		}
	}
	if !endpoint(host+":{env.EVENTS_PORT}").check("tcp") || endpoint(host+":1"+strings.Repeat(" ", maxEndpoint)).check("tcp") {
		t.Error("what is right is told wrongly")
	}
}

func TestPlus(t *testing.T) {
	for _, c := range []struct {
		hostport string
		n        int
		want     string
	}{
		{"a:5557", 0, "a:5557"}, {"a:5557", 3, "a:5560"}, {"[::1]:1", 1, "[::1]:2"},
		{"a:65535", 0, "a:65535"}, {"a:65535", 1, ""}, {"a", 1, ""}, {"a:b", 1, ""},
	} {
		if got := plus(c.hostport, c.n); got != c.want {
			t.Errorf("%s + %d is %q, want %q", c.hostport, c.n, got, c.want)
		}
	}
}
