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

const (
	// maxTemplate bounds a configured template, in bytes.
	maxTemplate = 1024
	maxPort     = 65535
	// relativeSign begins a port that is relative to the upstream's.
	relativeSign = ":+"
)

// Template is a URL with placeholders for the parts that differ between
// upstreams, such as tcp://{http.reverse_proxy.upstream.host}:5557. The known
// placeholders are {http.reverse_proxy.upstream.host}, .port, .hostport and
// .address. A port with a plus sign is relative to the upstream's: at
// tcp://{http.reverse_proxy.upstream.host}:+1000 two engines on one host differ.
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
	u, err := url.Parse(absolutePort(strings.NewReplacer(
		prefix+"host}", bracketed, prefix+"port}", port, prefix+"hostport}", upstream, prefix+"address}", upstream,
	).Replace(string(t)), port))
	if err != nil || u.Scheme != scheme || u.User != nil || u.RawQuery != "" || u.Fragment != "" || !IsHostPort(hostPort(u)) {
		return nil
	}
	return u
}

// absolutePort replaces a relative port in a URL. One that leads to no port stays,
// and makes the URL invalid.
func absolutePort(raw, upstreamPort string) string {
	before, authority, path := cutAuthority(raw)
	host, offset, relative := strings.Cut(authority, relativeSign)
	if !relative {
		return raw
	}
	base, err := strconv.ParseUint(upstreamPort, 10, 16)
	more, moreErr := strconv.ParseUint(offset, 10, 16)
	if err != nil || moreErr != nil || base+more > maxPort {
		return raw
	}
	return before + host + ":" + strconv.FormatUint(base+more, 10) + path
}

// cutAuthority cuts a URL before and behind its host and port.
func cutAuthority(raw string) (before, authority, path string) {
	start := strings.Index(raw, "://")
	if start < 0 {
		return raw, "", ""
	}
	start += len("://")
	end := len(raw)
	if i := strings.IndexAny(raw[start:], "/?#"); i >= 0 {
		end = start + i
	}
	return raw[:start], raw[start:end], raw[end:]
}

// Relative reports whether the port is relative to the upstream's.
func (t Template) Relative() bool {
	_, authority, _ := cutAuthority(string(t))
	return strings.Contains(authority, relativeSign)
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
	if err != nil || p+n > maxPort {
		return ""
	}
	return net.JoinHostPort(host, strconv.Itoa(p+n))
}
