// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"bytes"
	"context"
	"encoding/json"
	"testing"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/Shopify/toxiproxy/v2/stream"
	"github.com/Shopify/toxiproxy/v2/toxics"
	"github.com/rs/zerolog"

	"github.com/bauxite/caddy-kvaware/integration/harness"
	"github.com/bauxite/caddy-kvaware/internal/sim/enginesim"
)

// node is a simulated engine, and the fault proxy in front of it if it has one.
type node struct {
	engine *enginesim.Engine
	proxy  *toxiproxy.Proxy // nil: the gateway connects to the engine itself

	cachePort string // of the LMCache on its host, if it has one
}

// engineConfig is an engine that computes a conversation's first turn in some 20
// ms of real time, and answers 40 ms later.
var engineConfig = enginesim.Config{Models: []string{"sim"}, Speed: 4, OutputTokens: 8}

// fastEngine answers at once.
var fastEngine = enginesim.Config{Models: []string{"sim"}, Speed: 200, OutputTokens: 2}

// faultProxies owns the fault proxies of this process. It serves no API.
var faultProxies = toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())

func startNode(t *testing.T, config enginesim.Config) *node {
	t.Helper()
	e, err := enginesim.Start(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	return &node{engine: e}
}

// startNodes starts engines of which the first n are behind fault proxies.
func startNodes(t *testing.T, config enginesim.Config, n, total int) []*node {
	t.Helper()
	nodes := make([]*node, total)
	for i := range nodes {
		nodes[i] = startNode(t, config)
		if i < n {
			nodes[i].putProxy(t, "0")
		}
	}
	return nodes
}

// putProxy puts a fault proxy without faults in front of the engine, on its host.
// Port 0 is any.
func (n *node) putProxy(t *testing.T, port string) {
	t.Helper()
	n.proxy = toxiproxy.NewProxy(faultProxies, n.engine.Addr(), harness.AtPort(n.engine, port), n.engine.Addr())
	if err := n.proxy.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.proxy.Stop)
}

// putProxies puts a fault proxy in front of each engine, all at the same port if
// the config wants that.
func putProxies(t *testing.T, in setup, nodes []*node) {
	t.Helper()
	port := "0"
	if in.samePort {
		engines := make([]*enginesim.Engine, len(nodes))
		for i, n := range nodes {
			engines[i] = n.engine
		}
		port = harness.CommonPort(t, engines)
	}
	for _, n := range nodes {
		n.putProxy(t, port)
	}
}

// address returns the address at which the gateway reaches the engine.
func (n *node) address() string {
	if n.proxy != nil {
		return n.proxy.Listen
	}
	return n.engine.Addr()
}

// toxic is a fault of toxiproxy, in one direction: "upstream" to the engine,
// "downstream" from it.
func (n *node) toxic(kind, direction string, attributes map[string]any) error {
	return n.toxicSometimes(kind, direction, 1, attributes)
}

// toxicSometimes is toxic for a share of the connections.
func (n *node) toxicSometimes(kind, direction string, share float64, attributes map[string]any) error {
	raw, err := json.Marshal(map[string]any{"type": kind, "stream": direction, "toxicity": share, "attributes": attributes})
	if err != nil {
		return err
	}
	_, err = n.proxy.Toxics.AddToxicJson(bytes.NewReader(raw))
	return err
}

// heal ends every fault of the engine and its proxy.
func (n *node) heal() error {
	if n.proxy != nil {
		n.proxy.Toxics.ResetToxics(context.Background())
		if !n.proxy.Enabled {
			if err := n.proxy.Start(); err != nil {
				return err
			}
		}
	}
	return n.engine.Heal()
}

// closeAfterAnswer is a toxic that closes the connection behind each answer in
// chunks without having announced it, as some engines do behind streams. It
// knows the end of an answer by the empty chunk.
type closeAfterAnswer struct{}

const closeAfterAnswerType = "close_after_answer"

func init() { toxics.Register(closeAfterAnswerType, new(closeAfterAnswer)) }

func (*closeAfterAnswer) Pipe(stub *toxics.ToxicStub) {
	for {
		select {
		case <-stub.Interrupt:
			return
		case data := <-stub.Input:
			if data == nil {
				stub.Close()
				return
			}
			stub.Output <- &stream.StreamChunk{Data: data.Data, Timestamp: data.Timestamp}
			if bytes.HasSuffix(data.Data, []byte("0\r\n\r\n")) {
				stub.Close()
				return
			}
		}
	}
}
