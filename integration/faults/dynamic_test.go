// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/bauxite/caddy-kvaware/integration/harness"
	"github.com/bauxite/caddy-kvaware/internal/sim/enginesim"
)

// nameServer answers every question for A records with the same addresses, which
// can change.
type nameServer struct {
	server *dns.Server
	mu     sync.Mutex
	hosts  []net.IP
}

func startNameServer(t *testing.T) *nameServer {
	t.Helper()
	socket, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n := &nameServer{}
	n.server = &dns.Server{PacketConn: socket, Handler: n}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = n.server.ActivateAndServe() // ends with Shutdown
	}()
	t.Cleanup(func() {
		_ = socket.Close()
		<-ended
	})
	return n
}

func (n *nameServer) address() string { return n.server.PacketConn.LocalAddr().String() }

func (n *nameServer) set(nodes []*node) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.hosts = nil
	for _, e := range nodes {
		host, _, _ := net.SplitHostPort(e.address())
		n.hosts = append(n.hosts, net.ParseIP(host))
	}
}

// ServeDNS answers a question.
func (n *nameServer) ServeDNS(w dns.ResponseWriter, question *dns.Msg) {
	n.mu.Lock()
	hosts := slices.Clone(n.hosts)
	n.mu.Unlock()
	answer := new(dns.Msg)
	answer.SetReply(question)
	if q := question.Question[0]; q.Qtype == dns.TypeA {
		for _, ip := range hosts {
			answer.Answer = append(answer.Answer, &dns.A{Hdr: dns.RR_Header{Name: q.Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 0}, A: ip})
		}
	}
	_ = w.WriteMsg(answer)
}

// The traffic during which engines come and go in DNS.
const (
	joinsAt  = 100
	leavesAt = 200
	goneAt   = 240 // by then the change must be known
)

func dynamicScenarios(t *testing.T) []scenario {
	names := startNameServer(t)
	nodes := startSamePort(t, engineConfig, 4)
	moving := dynamic
	moving.replace = func(_ *testing.T, nodes []*node) []string { return names.replacements(nodes) }
	names.set(nodes[:3])
	s := newSite(t, "moves in DNS", moving, nodes)
	return []scenario{{s, func(g *gateway, s *site) { g.runDynamic(s, names) }}}
}

// replacements returns what the dynamic example needs replaced to look up nodes at
// this name server.
func (n *nameServer) replacements(nodes []*node) []string {
	return []string{
		"vllm.internal 8000 {", "vllm.internal " + harness.PortOf(nodes[0].address()) + " {\n versions ipv4\n resolvers " + n.address(),
		"refresh 10s", "refresh 200ms",
	}
}

// fixedNames starts a name server that always names the same nodes.
func fixedNames(t *testing.T, nodes []*node) []string {
	names := startNameServer(t)
	names.set(nodes)
	return names.replacements(nodes)
}

// startSamePort starts engines at the same port of different hosts.
func startSamePort(t *testing.T, config enginesim.Config, n int) []*node {
	t.Helper()
	engines, err := enginesim.StartNodes(config, 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(engines[0].Close)
	port := harness.PortOf(engines[0].Addr())
	nodes := []*node{{engine: engines[0]}}
	for try := 0; len(nodes) < n; try++ {
		host := net.IPv4(127, 13, byte(len(nodes)), byte(1+try)).String()
		e, err := enginesim.StartAt(config, net.JoinHostPort(host, port))
		if err != nil {
			if try > 100 {
				t.Fatal(err)
			}
			continue
		}
		t.Cleanup(e.Close)
		nodes = append(nodes, &node{engine: e})
	}
	return nodes
}

// runDynamic has one engine join, and another die and leave DNS a second later.
func (g *gateway) runDynamic(s *site, names *nameServer) {
	leaving, joining := s.nodes[0], s.nodes[3]
	var before int
	count := g.pace(s, 0, requestsOfRow, pause, s.request, func(n int) {
		switch n {
		case joinsAt:
			names.set(s.nodes)
		case leavesAt:
			if err := leaving.engine.Fault(enginesim.Fault{Kind: enginesim.Crash}); err != nil {
				s.errorf("%v", err)
			}
			time.AfterFunc(time.Second, func() { names.set(s.nodes[1:]) })
		case goneAt:
			before = picks(leaving)
		}
	})
	s.logf("%v; the engines received %d", count, s.received())
	s.checkLost(count.lost, requestsOfRow)
	if n := picks(leaving) - before; n != 0 {
		s.errorf("%d attempts went to the engine that had left", n)
	}
	if n := joining.engine.Stats().Served; n < (requestsOfRow-joinsAt)/8 {
		s.errorf("the engine that joined has served %d requests, want half its share", n)
	}
}
