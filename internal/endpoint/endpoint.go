// SPDX-License-Identifier: Apache-2.0

// Package endpoint derives the addresses of an upstream's other ports (KV
// events, replay, LMCache) from the upstream's dial address.
package endpoint

import (
	"net"
	"net/url"
	"strconv"
	"strings"
)

// maxTemplate bounds a configured template, in bytes.
const maxTemplate = 1024

// Template is a URL with placeholders for the parts that differ between
// upstreams, such as tcp://{http.reverse_proxy.upstream.host}:5557. The known
// placeholders are {http.reverse_proxy.upstream.host}, .port, .hostport and
// .address.
type Template string

// For returns the URL for the upstream with this dial address. It returns nil
// when the address has no host, or the result is not a plain URL with the
// given scheme and a host.
func (t Template) For(upstream, scheme string) *url.URL {
	host, port, err := net.SplitHostPort(upstream)
	if err != nil {
		return nil
	}
	const prefix = "{http.reverse_proxy.upstream."
	bracketed := host
	if strings.Contains(host, ":") {
		bracketed = "[" + host + "]"
	}
	u, err := url.Parse(strings.NewReplacer(
		prefix+"host}", bracketed, prefix+"port}", port, prefix+"hostport}", upstream, prefix+"address}", upstream,
	).Replace(string(t)))
	if err != nil || u.Scheme != scheme || u.User != nil || u.RawQuery != "" || u.Fragment != "" || !IsHostPort(hostPort(u)) {
		return nil
	}
	return u
}

// Valid reports whether the template gives a URL for ordinary upstreams.
func (t Template) Valid(scheme string) bool {
	return len(t) <= maxTemplate && t.For("192.0.2.1:8000", scheme) != nil
}

// IsHostPort reports whether a dial address is one host with one port. Unix
// sockets, port ranges and addresses with placeholders are not.
func IsHostPort(address string) bool {
	host, port, err := net.SplitHostPort(address)
	if err != nil || host == "" || strings.ContainsAny(host, "/@?#{ ") {
		return false
	}
	n, err := strconv.ParseUint(port, 10, 16)
	return err == nil && n > 0
}

// hostPort returns the host and port of a URL, by default the scheme's usual
// port.
func hostPort(u *url.URL) string {
	if u.Port() == "" && u.Scheme == "http" {
		return net.JoinHostPort(u.Hostname(), "80")
	}
	return u.Host
}

// AddPort returns hostport with the port raised by n, or "" when there is no
// such port.
func AddPort(hostport string, n int) string {
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
