// SPDX-License-Identifier: Apache-2.0

package endpoint

import (
	"strings"
	"testing"
)

func TestTemplate(t *testing.T) {
	const host = "tcp://{http.reverse_proxy.upstream.host}"
	for _, c := range []struct{ template, upstream, want string }{
		{host + ":5557", "node-a:8000", "node-a:5557"},
		{host + ":5557", "[fe80::1]:8000", "[fe80::1]:5557"},
		{host + ":{http.reverse_proxy.upstream.port}", "node-a:8000", "node-a:8000"},
		{"tcp://{http.reverse_proxy.upstream.hostport}", "node-a:8000", "node-a:8000"},
		{"tcp://{http.reverse_proxy.upstream.address}", "[::1]:8000", "[::1]:8000"},
		{"tcp://events.example.com:1", "node-a:8000", "events.example.com:1"},
		{host + ":+1000", "node-a:8000", "node-a:9000"},
		{host + ":+1000", "node-a:8001", "node-a:9001"},
		{host + ":+0", "[::1]:8000", "[::1]:8000"},
		{host + ":+1000/path", "[fe80::1]:8000", "[fe80::1]:9000"},
		{"tcp://events.example.com:+57535", "node-a:8000", "events.example.com:65535"},
		{"tcp://events.example.com:+57536", "node-a:8000", ""},
		{host + ":+65535", "node-a:65535", ""},
		{host + ":+-1", "node-a:8000", ""},
		{host + ":++1", "node-a:8000", ""},
		{host + ":+", "node-a:8000", ""},
		{host + ":+1000", "node-a:http", ""},
		{host + ":+1000", "node-a:8000-8001", ""},
		{"tcp://{http.reverse_proxy.upstream.hostport}:+1", "node-a:8000", ""},
		{host + ":1/x:+1", "node-a:8000", "node-a:1"},
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
		if u := Template(c.template).For(c.upstream, "tcp"); u != nil {
			got = u.Host
		}
		if got != c.want {
			t.Errorf("%s of %s is %q, want %q", c.template, c.upstream, got, c.want)
		}
	}
	if !Template(host + ":5557").Valid("tcp") {
		t.Error("an ordinary template is refused")
	}
	if Template(host+":5557").Relative() || Template(host+":1/:+1").Relative() || !Template(host+":+5557").Relative() {
		t.Error("which port is relative")
	}
	if Template(host + ":1" + strings.Repeat(" ", maxTemplate)).Valid("tcp") {
		t.Error("a template over the limit is accepted")
	}
}

func TestAddPort(t *testing.T) {
	for _, c := range []struct {
		hostport string
		n        int
		want     string
	}{
		{"a:5557", 0, "a:5557"}, {"a:5557", 3, "a:5560"}, {"[::1]:1", 1, "[::1]:2"},
		{"a:65535", 0, "a:65535"}, {"a:65535", 1, ""}, {"a", 1, ""}, {"a:b", 1, ""},
	} {
		if got := AddPort(c.hostport, c.n); got != c.want {
			t.Errorf("%s + %d is %q, want %q", c.hostport, c.n, got, c.want)
		}
	}
}
