// SPDX-License-Identifier: Apache-2.0

package adapter

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig"
	"go.yaml.in/yaml/v3"
)

// Bounds of one configuration. They also bound the expansion of aliases: the
// format's depth is fixed, so only these two lists can multiply.
const (
	maxClusters  = 1000
	maxEndpoints = 10000 // of all clusters together
	maxName      = 63    // bytes
)

// config is a checked configuration.
type config struct {
	radixDepth int
	fallback   string // name of a Caddy selection policy
	clusters   []cluster
}

type cluster struct {
	name  string
	https bool
	dials []string // host:port
}

// reader walks the YAML nodes instead of decoding into structs, because nodes have
// lines and the decoder's errors quote values.
type reader struct {
	file      string
	warnings  []caddyconfig.Warning
	endpoints int            // so far
	owner     map[string]int // dial address -> index of the first cluster with it
}

// fallbacks maps this format's names to Caddy's selection policies that need no
// argument.
var fallbacks = map[string]string{
	"least_busy":     "least_conn",
	"least_conn":     "least_conn",
	"random":         "random",
	"round_robin":    "round_robin",
	"first":          "first",
	"ip_hash":        "ip_hash",
	"client_ip_hash": "client_ip_hash",
	"uri_hash":       "uri_hash",
}

// document reads the top of the configuration.
func (r *reader) document(root *yaml.Node) (*config, error) {
	top, err := fields(root, "the configuration", "enterprise")
	if err != nil {
		return nil, err
	}
	if top["enterprise"] == nil {
		return nil, errorAt(root, "the key enterprise is missing")
	}
	enterprise, err := fields(top["enterprise"], "enterprise", "routing", "clusters")
	if err != nil {
		return nil, err
	}
	cfg := &config{fallback: fallbacks["least_busy"]}
	if node := enterprise["routing"]; node != nil {
		if err := r.routing(node, cfg); err != nil {
			return nil, err
		}
	} else {
		r.warn(top["enterprise"], "enterprise.routing", "missing: strategy kv_aware over whole prompts, fallback least_busy")
	}
	if enterprise["clusters"] == nil {
		return nil, errorAt(top["enterprise"], "enterprise.clusters is missing: it takes a list of clusters, each with name and endpoints")
	}
	return cfg, r.clusters(enterprise["clusters"], cfg)
}

func (r *reader) routing(node *yaml.Node, cfg *config) error {
	routing, err := fields(node, "enterprise.routing", "strategy", "radix_depth", "fallback")
	if err != nil {
		return err
	}
	if n := routing["strategy"]; n != nil {
		if name, ok := text(n); !ok || name != "kv_aware" {
			return errorAt(n, "enterprise.routing.strategy takes kv_aware")
		}
	}
	if n := routing["radix_depth"]; n != nil {
		depth, ok := count(n)
		if !ok {
			return errorAt(n, "enterprise.routing.radix_depth takes a whole number of blocks, 0 (all) or more")
		}
		cfg.radixDepth = depth
	}
	if n := routing["fallback"]; n != nil {
		name, _ := text(n)
		policy, ok := fallbacks[name]
		if !ok {
			return errorAt(n, "enterprise.routing.fallback takes least_busy, least_conn, random, round_robin, first, ip_hash, client_ip_hash or uri_hash")
		}
		cfg.fallback = policy
	}
	return nil
}

func (r *reader) clusters(node *yaml.Node, cfg *config) error {
	const key = "enterprise.clusters"
	items, ok := list(node)
	if !ok || len(items) == 0 || len(items) > maxClusters {
		return errorAt(node, "%s takes a list of 1 to %d clusters, each with name and endpoints", key, maxClusters)
	}
	r.owner = make(map[string]int)
	seen := make(map[string]bool)
	for i, item := range items {
		c, err := r.cluster(item, fmt.Sprintf("%s[%d]", key, i), i)
		if err != nil {
			return err
		}
		if seen[c.name] {
			return errorAt(item, "%s[%d].name: there are two clusters %q", key, i, c.name)
		}
		seen[c.name] = true
		cfg.clusters = append(cfg.clusters, c)
	}
	return nil
}

func (r *reader) cluster(node *yaml.Node, key string, index int) (cluster, error) {
	var c cluster
	members, err := fields(node, key, "name", "endpoints")
	if err != nil {
		return c, err
	}
	if members["name"] == nil {
		return c, errorAt(node, "%s.name is missing", key)
	}
	if c.name, err = clusterName(members["name"], key+".name"); err != nil {
		return c, err
	}
	if members["endpoints"] == nil {
		return c, errorAt(node, "%s.endpoints is missing: it takes a list of http://HOST:PORT or https://HOST:PORT", key)
	}
	return c, r.endpointList(members["endpoints"], key+".endpoints", &c, index)
}

func (r *reader) endpointList(node *yaml.Node, key string, c *cluster, index int) error {
	items, ok := list(node)
	if !ok || len(items) == 0 {
		return errorAt(node, "%s takes a list of at least one http://HOST:PORT or https://HOST:PORT", key)
	}
	if r.endpoints += len(items); r.endpoints > maxEndpoints {
		return errorAt(node, "%s: more than %d endpoints in all", key, maxEndpoints)
	}
	inCluster := make(map[string]bool, len(items))
	for i, item := range items {
		value, ok := text(item)
		if !ok {
			return errorAt(item, "%s[%d] takes text: http://HOST:PORT or https://HOST:PORT", key, i)
		}
		e, problem := parseEndpoint(value)
		if problem != "" {
			return errorAt(item, "%s[%d] %s", key, i, problem)
		}
		switch {
		case i > 0 && e.https != c.https:
			return errorAt(item, "%s[%d]: http and https endpoints in one cluster: it takes one kind", key, i)
		case inCluster[e.dial]:
			return errorAt(item, "%s[%d]: the same endpoint twice in one cluster", key, i)
		}
		inCluster[e.dial] = true
		if first, taken := r.owner[e.dial]; taken && first != index {
			r.warn(item, fmt.Sprintf("%s[%d]", key, i), "also in another cluster: they share its load and its index")
		} else {
			r.owner[e.dial] = index
		}
		c.https = e.https
		c.dials = append(c.dials, e.dial)
	}
	if len(items) == 1 {
		r.warn(node, key, "one endpoint: there is nothing to choose between")
	}
	return nil
}

func (r *reader) warn(node *yaml.Node, key, message string) {
	r.warnings = append(r.warnings, caddyconfig.Warning{File: r.file, Line: node.Line, Directive: key, Message: message})
}

// errorAt returns an error at the line of a node.
func errorAt(node *yaml.Node, format string, args ...any) error {
	return fmt.Errorf("line %d: "+format, append([]any{node.Line}, args...)...)
}

// resolve follows an alias to its node.
func resolve(node *yaml.Node) *yaml.Node {
	if node.Kind == yaml.AliasNode {
		return node.Alias
	}
	return node
}

// fields returns the members of a map, which may have only the known ones.
func fields(node *yaml.Node, key string, known ...string) (map[string]*yaml.Node, error) {
	m := resolve(node)
	if m.Kind != yaml.MappingNode {
		return nil, errorAt(node, "%s takes a map with %s", key, strings.Join(known, ", "))
	}
	members := make(map[string]*yaml.Node, len(known))
	for i := 0; i+1 < len(m.Content); i += 2 {
		name, ok := text(m.Content[i])
		switch {
		case !ok || !slices.Contains(known, name):
			return nil, errorAt(m.Content[i], "unknown key %s in %s: it takes %s", keyName(m.Content[i]), key, strings.Join(known, ", "))
		case members[name] != nil:
			return nil, errorAt(m.Content[i], "the key %s is twice in %s", name, key)
		}
		members[name] = m.Content[i+1]
	}
	return members, nil
}

// keyName returns an unknown key for an error: quoted, short, on one line.
func keyName(node *yaml.Node) string {
	if node.Kind != yaml.ScalarNode {
		return "(not text)"
	}
	const most = 40
	if len(node.Value) > most {
		return strconv.QuoteToASCII(strings.ToValidUTF8(node.Value[:most], "")) + "..."
	}
	return strconv.QuoteToASCII(node.Value)
}

// text returns a string value. As in YAML, numbers, booleans and nulls are not
// text: a name such as 123 needs quotes.
func text(node *yaml.Node) (string, bool) {
	n := resolve(node)
	return n.Value, n.Kind == yaml.ScalarNode && n.ShortTag() == "!!str"
}

// count returns a whole number from 0, in plain decimal digits: YAML's other
// notations (0x10, 010, 1_0) are usually mistakes.
func count(node *yaml.Node) (int, bool) {
	n := resolve(node)
	if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!int" || n.Style != 0 || n.Value != "0" && strings.HasPrefix(n.Value, "0") {
		return 0, false
	}
	v, err := strconv.ParseUint(n.Value, 10, 31)
	return int(v), err == nil
}

func list(node *yaml.Node) ([]*yaml.Node, bool) {
	n := resolve(node)
	return n.Content, n.Kind == yaml.SequenceNode
}
