// SPDX-License-Identifier: Apache-2.0

package adapter

import (
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// apiPaths are the first parts of the paths that engines serve. A cluster with
// such a name would take requests from the first cluster.
var apiPaths = []string{
	"api", "apply-template", "chat", "classify", "completion", "completions", "detokenize", "docs", "embed",
	"embedding", "embeddings", "encode", "flush_cache", "generate", "health", "health_generate", "healthz", "inference",
	"infill", "invocations", "kv_event_sources", "live", "load", "lora-adapters", "messages", "metrics", "model_info",
	"models", "openapi.json", "ping", "pooling", "props", "ready", "redoc", "rerank", "reranking",
	"reset_prefix_cache", "responses", "score", "server_info", "sleep", "slots", "start_profile", "stop_profile",
	"tokenize", "v1", "v1beta", "v2", "version", "wake_up",
}

// clusterName reads a name that needs no escaping in a path.
func clusterName(node *yaml.Node, key string) (string, error) {
	name, ok := text(node)
	switch {
	case !ok:
		return "", errorAt(node, "%s takes text", key)
	case name == "" || len(name) > maxName || !isName(name):
		return "", errorAt(node, "%s takes 1 to %d of a-z, 0-9, '.', '_' and '-'", key, maxName)
	case strings.Trim(name, ".") == "":
		return "", errorAt(node, "%s takes more than dots", key)
	case slices.Contains(apiPaths, name):
		return "", errorAt(node, "%s must not be %q: engines serve that path, and the first cluster needs it", key, name)
	}
	return name, nil
}

// isName reports whether s has only characters of names and hosts.
func isName(s string) bool {
	return strings.IndexFunc(s, func(c rune) bool {
		return !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '.' || c == '_' || c == '-')
	}) < 0
}

type endpoint struct {
	https bool
	dial  string // host:port, normalized
}

const endpointForm = "takes http://HOST:PORT or https://HOST:PORT, without path, query and user"

// parseEndpoint parses an engine's address. problem is a fixed text that follows
// the key in an error. url.Parse would accept text that must not reach a dial
// address, such as placeholders and port ranges.
func parseEndpoint(value string) (e endpoint, problem string) {
	scheme, rest, ok := strings.Cut(value, "://")
	e.https = strings.EqualFold(scheme, "https")
	if !ok || !e.https && !strings.EqualFold(scheme, "http") || strings.ContainsAny(rest, "/?#@") {
		return e, endpointForm
	}
	host, port, ok := hostPort(rest)
	if !ok {
		return e, endpointForm
	}
	switch {
	case port == "" && e.https:
		port = "443"
	case port == "":
		port = "80"
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 {
		return e, "takes a port from 1 to 65535"
	}
	// Caddy refuses these two as well.
	if e.https && n == 80 || !e.https && n == 443 {
		return e, "takes no https on port 80 and no http on port 443"
	}
	e.dial = net.JoinHostPort(strings.ToLower(host), strconv.FormatUint(n, 10))
	return e, ""
}

// hostPort splits HOST, HOST:PORT, [IPV6] and [IPV6]:PORT, and checks the host.
func hostPort(s string) (host, port string, ok bool) {
	if v6, rest, found := strings.Cut(strings.TrimPrefix(s, "["), "]"); found && strings.HasPrefix(s, "[") {
		addr, err := netip.ParseAddr(v6)
		if err != nil || !addr.Is6() || addr.Zone() != "" {
			return "", "", false
		}
		port, hasPort := strings.CutPrefix(rest, ":")
		return addr.String(), port, rest == "" || hasPort && port != ""
	}
	host, port, hasPort := strings.Cut(s, ":")
	if hasPort && (port == "" || strings.Contains(port, ":")) { // an IPv6 address needs brackets
		return "", "", false
	}
	return host, port, isHost(host)
}

// isHost reports whether s can be a host name or an IPv4 address.
func isHost(s string) bool {
	if s == "" || len(s) > 253 || strings.HasPrefix(s, "-") || strings.HasPrefix(s, ".") {
		return false
	}
	return isName(strings.ToLower(s))
}
