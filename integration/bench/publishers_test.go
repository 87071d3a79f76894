// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"encoding/binary"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"testing"
	"time"

	"github.com/bauxite/caddy-kvaware/integration/harness"
	"github.com/bauxite/caddy-kvaware/internal/sim/enginesim"
)

// BenchmarkEventsIdle measures the cost of 256 silent publishers: heartbeats,
// naming upstreams, and the publishers' own part, which runs in this process too.
// 2 % of a core are promised.
func BenchmarkEventsIdle(b *testing.B) {
	engines := harness.StartPublishingEngines(b, 1, enginesim.Config{Ranks: 256, Events: &enginesim.EventsConfig{Replay: true}})
	g := harness.StartGateway(b, "caddyfile", harness.PolicySite(engines, "metrics off\n"+harness.EventsOption(engines[0], 256)))
	g.Predict(b, harness.ChatPath, harness.Chat("Hello.", false))
	harness.Await(b, "all publishers are followed", func() bool {
		return len(harness.Publishers(b, engines[0])) == 256 && harness.EventsKnown(b, "complete", engines...)
	})
	time.Sleep(5 * time.Second) // the gateway asks each once more after the start
	const lasts = 25 * time.Second
	for b.Loop() {
		before := cpuTime(b)
		time.Sleep(lasts)
		b.ReportMetric(100*float64(cpuTime(b)-before)/float64(lasts), "%core")
	}
	if n := engines[0].Subscribers(255); n != 1 {
		b.Fatalf("%d subscribers", n)
	}
}

// BenchmarkEventsApplied measures how many blocks a second a gateway applies from
// one publisher that sends as much as it can: over TCP, decoded, indexed. A lap has
// more blocks than memory_limit holds, so that each block is new when it comes
// again. 100,000 a second and core are promised.
func BenchmarkEventsApplied(b *testing.B) {
	const chain, batches = 64, 4096 // blocks in a batch, batches in a lap
	engines := harness.StartPublishingEngines(b, 1, enginesim.Config{})
	port := harness.CommonPort(b, engines)
	lap := make([][]byte, batches)
	rnd := rand.New(rand.NewPCG(1, 22))
	for i := range lap {
		lap[i] = storedBatch(rnd, chain)
	}
	more, sent := make(chan int), uint64(0)
	l, err := net.Listen("tcp", harness.AtPort(engines[0], port))
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		c.Write(harness.ZMTPGreeting)
		if _, err := io.ReadFull(c, make([]byte, 64)); err != nil {
			return
		}
		c.Write(harness.ZMTPReady)
		go io.Copy(io.Discard, c)
		seq := uint64(0)
		for n := range more {
			for range n {
				if _, err := c.Write(harness.BatchFrames(seq, lap[seq%batches])); err != nil {
					return
				}
				seq++
			}
		}
	}()
	defer close(more)
	g := harness.StartGateway(b, "caddyfile", harness.PolicySite(engines, "metrics off\nevents "+harness.UpstreamHost+port))
	g.Predict(b, harness.ChatPath, harness.Chat("Hello.", false))
	send := func(n int) {
		more <- n
		sent += uint64(n)
		harness.Await(b, "all batches are applied", func() bool {
			of := harness.Publishers(b, engines[0])
			return len(of) == 1 && of[0].Batches == sent
		})
	}
	send(batches)
	before, blocks := cpuTime(b), 0
	for b.Loop() {
		send(batches)
		blocks += batches * chain
	}
	b.ReportMetric(float64(blocks)/(cpuTime(b)-before).Seconds(), "blocks/core-s")
	b.ReportMetric(float64(blocks)/b.Elapsed().Seconds(), "blocks/s")
	if of := harness.Publishers(b, engines[0])[0]; of.Gaps > 0 || of.Malformed > 0 || of.Blocks < uint64(blocks) {
		b.Fatalf("%+v", of)
	}
}

// storedBatch returns a batch with one event, in the encoding of the newest vLLM,
// which stores a chain of blocks of 16 tokens.
func storedBatch(rnd *rand.Rand, blocks int) []byte {
	p := append([]byte{0x93, 0xcb}, binary.BigEndian.AppendUint64(nil, math.Float64bits(1.8e9))...)
	text := func(s string) { p = append(append(p, 0xa0|byte(len(s))), s...) }
	list := func(n int) { p = binary.BigEndian.AppendUint16(append(p, 0xdc), uint16(n)) }
	p = append(p, 0x91, 0x85) // one event of five fields
	text("type")
	text("BlockStored")
	text("block_hashes")
	list(blocks)
	for range blocks {
		p = binary.BigEndian.AppendUint64(append(p, 0xcf), rnd.Uint64())
	}
	text("parent_block_hash")
	p = append(p, 0xc0)
	text("token_ids")
	list(16 * blocks)
	for range 16 * blocks {
		p = binary.BigEndian.AppendUint32(append(p, 0xce), rnd.Uint32()&0x3ffff)
	}
	text("block_size")
	return append(p, 16, 0x00) // and the rank
}
