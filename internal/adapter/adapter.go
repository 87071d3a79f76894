// SPDX-License-Identifier: Apache-2.0

// Package adapter registers the config adapter `bauxite`, which reads the
// product's own YAML:
//
//	caddy run --config bauxite.yaml --adapter bauxite
//
// The format is one section, `enterprise`, with two keys:
//
//	enterprise:
//	  routing:
//	    strategy: kv_aware     # the only one, and the default
//	    radix_depth: 3         # blocks (messages) of a prompt to track; default 0: all
//	    fallback: least_busy   # or least_conn, random, round_robin, first, ip_hash,
//	                           # client_ip_hash, uri_hash; default least_busy
//	  clusters:
//	    - name: vllm-prod
//	      endpoints: ["http://node-a:8000", "http://node-b:8000"]
//
// The result is one plain HTTP server on :8080, on which the janitor scrubs every
// request first. /NAME/... addresses the cluster of that name, and the engine
// sees the path without /NAME; the first cluster gets all other requests. Nothing
// is written to disk: Caddy saves no config and neither checks nor cleans its
// storage. The admin API listens on localhost:2019.
//
// The adapter is strict: it refuses unknown keys and values, and names the line.
//
// adapter_test.go tests all files. testdata/errors.txtar holds the invalid
// configurations, each with its error.
package adapter

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"

	"github.com/caddyserver/caddy/v2/caddyconfig"
	"go.yaml.in/yaml/v3"
)

// Name is the adapter's name on the command line (--adapter bauxite) and in the
// admin API (Content-Type: text/bauxite).
const Name = "bauxite"

// MaxSize is the largest configuration the adapter reads, in bytes.
const MaxSize = 1 << 20

func init() {
	caddyconfig.RegisterAdapter(Name, Adapter{})
}

// Adapter turns the product's YAML into Caddy's JSON.
type Adapter struct{}

// Adapt converts body. Its errors name the line, the key and the values that the
// key takes; of the configuration's content they repeat only the names of keys
// and clusters. The option "filename" (string) appears in warnings.
func (Adapter) Adapt(body []byte, options map[string]any) ([]byte, []caddyconfig.Warning, error) {
	root, err := parse(body)
	if err != nil {
		return nil, nil, err
	}
	file, _ := options["filename"].(string)
	r := &reader{file: file}
	cfg, err := r.document(root)
	if err != nil {
		return nil, nil, err
	}
	out, err := json.Marshal(build(cfg))
	if err != nil { // cannot happen: only our own types are in it
		return nil, nil, errors.New("the configuration cannot be written as JSON")
	}
	return out, r.warnings, nil
}

// parse reads exactly one YAML document and returns its top node.
func parse(body []byte) (*yaml.Node, error) {
	if len(body) > MaxSize {
		return nil, fmt.Errorf("the configuration is larger than %d bytes", MaxSize)
	}
	dec := yaml.NewDecoder(bytes.NewReader(body))
	var doc yaml.Node
	if err := dec.Decode(&doc); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, errors.New("the configuration is empty: it takes the key enterprise")
		}
		return nil, syntaxError(err)
	}
	var more yaml.Node
	switch err := dec.Decode(&more); {
	case err == nil:
		return nil, fmt.Errorf("line %d: a second YAML document: the configuration takes one", more.Line)
	case !errors.Is(err, io.EOF):
		return nil, syntaxError(err)
	}
	return doc.Content[0], nil // a document has one node
}

var yamlLine = regexp.MustCompile(`^yaml: line (\d{1,7}):`)

// syntaxError keeps only the line of the decoder's error, because the rest of
// it may quote the configuration.
func syntaxError(err error) error {
	if m := yamlLine.FindStringSubmatch(err.Error()); m != nil {
		return fmt.Errorf("line %s: not valid YAML", m[1])
	}
	return errors.New("not valid YAML")
}

var _ caddyconfig.Adapter = Adapter{}
