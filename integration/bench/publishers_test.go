// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"encoding/binary"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/bauxite/caddy-kvaware/integration/harness"
	"github.com/bauxite/caddy-kvaware/internal/sim/enginesim"
)

// processTime is how much of a core this process has had.
func processTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkEventsIdle is what 256 publishers cost a whole gateway that say
// nothing: heartbeats, naming upstreams, and the publishers' own part, which runs
// in this process too. 2 % of a core are promised.
func BenchmarkEventsIdle(b *testing.B) {
	engines := harness.StartPublishingEngines(b, 1, enginesim.Config{Ranks: 256, Events: &enginesim.EventsConfig{Replay: true}})
	g := harness.StartGateway(b, "caddyfile", harness.PolicySite(engines, "metrics off\n"+harness.EventsOption(engines[0], 256)))
	g.Predict(b, harness.ChatPath, harness.Chat("Hello.", false))
	harness.Await(b, "all are followed", func() bool {
		return len(harness.Publishers(b, engines[0])) == 256 && harness.EventsKnown(b, "complete", engines...)
	})
	time.Sleep(5 * time.Second) // they are asked once more after the start
	const lasts = 25 * time.Second
	for b.Loop() {
		before := processTime(b)
		time.Sleep(lasts)
		b.ReportMetric(100*float64(processTime(b)-before)/float64(lasts), "%core")
	}
	if n := engines[0].Subscribers(255); n != 1 {
		b.Fatalf("%d subscribers", n)
	}
}

// BenchmarkEventsApplied is how many blocks a second a whole gateway takes in
// from one publisher that says as much as it can: over TCP, decoded, entered. A
// lap is more than fits under the ceiling, so that no block is there any more
// when it comes again. 100,000 a second and core are promised.
func BenchmarkEventsApplied(b *testing.B) {
	const chain, batches = 64, 4096 // blocks of a batch, and batches of a lap
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
		harness.Await(b, "all of it is applied", func() bool {
			of := harness.Publishers(b, engines[0])
			return len(of) == 1 && of[0].Batches == sent
		})
	}
	send(batches)
	before, blocks := processTime(b), 0
	for b.Loop() {
		send(batches)
		blocks += batches * chain
	}
	b.ReportMetric(float64(blocks)/(processTime(b)-before).Seconds(), "blocks/core-s")
	b.ReportMetric(float64(blocks)/b.Elapsed().Seconds(), "blocks/s")
	if of := harness.Publishers(b, engines[0])[0]; of.Gaps > 0 || of.Malformed > 0 || of.Blocks < uint64(blocks) {
		b.Fatalf("%+v", of)
	}
}

// storedBatch is a batch of one event as vLLM's newest encode it, which stores a
// chain of blocks of 16 tokens.
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
