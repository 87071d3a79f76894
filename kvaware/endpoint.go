// SPDX-License-Identifier: Apache-2.0

package kvaware

import (
	"net"
	"net/url"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
)

// endpoint is the address of something that belongs to an upstream, with
// placeholders for what differs from one upstream to the next, such as
// tcp://{http.reverse_proxy.upstream.host}:5557.
type endpoint string

// maxEndpoint bounds a configured address, in bytes.
const maxEndpoint = 1024

// known replaces the placeholders that mean the same for all upstreams, such
// as {env.NAME}.
func (e endpoint) known() endpoint {
	return endpoint(caddy.NewReplacer().ReplaceKnown(string(e), ""))
}

// of returns the URL for one upstream, known by its dial address; nil when that
// has no host, or what comes out is no URL with the scheme and a host.
func (e endpoint) of(upstream, scheme string) *url.URL {
	host, port, err := net.SplitHostPort(upstream)
	if err != nil {
		return nil
	}
	const of = "{http.reverse_proxy.upstream."
	bracketed := host
	if strings.Contains(host, ":") {
		bracketed = "[" + host + "]"
	}
	u, err := url.Parse(strings.NewReplacer(
		of+"host}", bracketed, of+"port}", port, of+"hostport}", upstream, of+"address}", upstream,
	).Replace(string(e)))
	if err != nil || u.Scheme != scheme || u.User != nil || u.RawQuery != "" || u.Fragment != "" || !isHostPort(hostPort(u)) {
		return nil
	}
	return u
}

// check reports whether the endpoint is one for usual upstreams.
func (e endpoint) check(scheme string) bool {
	return len(e) <= maxEndpoint && e.known().of("192.0.2.1:8000", scheme) != nil
}

// hostPort returns where a URL points to, with the scheme's usual port.
func hostPort(u *url.URL) string {
	if u.Port() == "" && u.Scheme == "http" {
		return net.JoinHostPort(u.Hostname(), "80")
	}
	return u.Host
}

// plus returns a host:port with the port n higher; "" when there is none.
func plus(hostport string, n int) string {
	host, port, err := net.SplitHostPort(hostport)
	if err != nil {
		return ""
	}
	p, err := strconv.Atoi(port)
	if err != nil || p+n > 65535 {
		return ""
	}
	return net.JoinHostPort(host, strconv.Itoa(p+n))
}
