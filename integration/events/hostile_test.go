// SPDX-License-Identifier: Apache-2.0

package events

import (
	"bytes"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bauxite/caddy-kvaware/integration/harness"
	"github.com/bauxite/caddy-kvaware/internal/sim/enginesim"
)

// attackers returns what may be at an events port in place of an engine. Each
// calls say until that returns false.
func attackers() map[string]func(c net.Conn, say func([]byte) bool) {
	noise := make([]byte, 1<<16)
	rnd := rand.New(rand.NewPCG(1, 6))
	for i := range noise {
		noise[i] = byte(rnd.Uint32())
	}
	shake := func(c net.Conn) bool {
		c.Write(harness.ZMTPGreeting)
		_, err := io.ReadFull(c, make([]byte, 64))
		c.Write(harness.ZMTPReady)
		return err == nil
	}
	after := func(payload func(i uint64) []byte) func(net.Conn, func([]byte) bool) {
		return func(c net.Conn, say func([]byte) bool) {
			for i := uint64(0); i > 0 || shake(c); i++ {
				if !say(payload(i)) {
					return
				}
			}
		}
	}
	deep := bytes.Repeat([]byte{0x91}, 1<<20)
	return map[string]func(net.Conn, func([]byte) bool){
		"random bytes": func(_ net.Conn, say func([]byte) bool) {
			for say(noise) {
			}
		},
		"random bytes behind the handshake": after(func(uint64) []byte { return noise }),
		"HTTP": func(c net.Conn, say func([]byte) bool) {
			say([]byte("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"))
		},
		"silence": func(c net.Conn, _ func([]byte) bool) { io.Copy(io.Discard, c) },
		"endless frame": after(func(i uint64) []byte {
			if i == 0 {
				return []byte("\x02\x00\x00\x00\xff\xff\xff\xff\xff")
			}
			return noise
		}),
		"endless message": after(func(uint64) []byte { return append([]byte("\x01\xff"), noise[:255]...) }),
		"huge lengths":    after(func(uint64) []byte { return []byte("\x02\x7f\xff\xff\xff\xff\xff\xff\xff") }),
		"nested deep":     after(func(i uint64) []byte { return harness.BatchFrames(i, deep) }),
		"huge array":      after(func(i uint64) []byte { return harness.BatchFrames(i, []byte("\x93\xc0\xdd\xff\xff\xff\xff")) }),
		"restarts": after(func(i uint64) []byte {
			return harness.BatchFrames(1<<40-i, []byte("\x92\xcb\x00\x00\x00\x00\x00\x00\x00\x00\x90"))
		}),
		"slow drip": func(c net.Conn, say func([]byte) bool) {
			for _, b := range harness.ZMTPGreeting {
				if !say([]byte{b}) {
					return
				}
				time.Sleep(20 * time.Millisecond)
			}
		},
	}
}

// lurk serves an attacker at an address until the end of the test, or until it has
// sent enough.
func lurk(t *testing.T, at string, attacker func(net.Conn, func([]byte) bool), said *atomic.Int64) {
	t.Helper()
	const enough = 24 << 20
	l, err := net.Listen("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	var mu sync.Mutex
	var open []net.Conn
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open = append(open, c)
			mu.Unlock()
			all.Go(func() {
				defer c.Close()
				attacker(c, func(b []byte) bool {
					n, err := c.Write(b)
					return said.Add(int64(n)) < enough && err == nil
				})
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		mu.Lock()
		for _, c := range open {
			c.Close()
		}
		mu.Unlock()
		all.Wait()
	})
}

// Engines with a hostile publisher, with something else at its port or with nothing
// there are routed as if they had no events, and the events of the other engines
// still count. All attack at the same time, on both ports.
func TestEventsOfHostilePublishers(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	const good, mayGrow = 2, 400 << 20
	all := attackers()
	engines := harness.StartPublishingEngines(t, good+len(all)+1, enginesim.Config{Speed: 200})
	port, replay := harness.CommonPort(t, engines), harness.CommonPort(t, engines)
	said := make([]atomic.Int64, len(all))
	i := good
	for _, attacker := range all {
		lurk(t, harness.AtPort(engines[i], port), attacker, &said[i-good])
		lurk(t, harness.AtPort(engines[i], replay), attacker, &said[i-good])
		i++
	} // nothing listens at the ports of the last engine
	for _, e := range engines[:good] {
		startRelay(t, harness.AtPort(e, port), e.EventsAddr(0))
		startRelay(t, harness.AtPort(e, replay), e.ReplayAddr(0))
	}
	events := "events " + harness.UpstreamHost + port + " {\nreplay " + harness.UpstreamHost + replay + "\n}"
	var before, now runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	// The good engines have a path of their own, so that only they are asked there.
	g := harness.StartGateway(t, "caddyfile", ":8080 {\nhandle_path /good/* {\n"+harness.PolicyRoute(engines[:good], events)+"}\nhandle {\n"+harness.PolicyRoute(engines, events)+"}\n}")
	harness.Await(t, "the histories of the good engines are known", func() bool { return harness.EventsKnown(t, "complete", engines[:good]...) })

	rnd := rand.New(rand.NewPCG(1, 7))
	var slowest time.Duration
	var most uint64
	const lasts, least = 3 * time.Second, 5
	rounds := 0
	for began := time.Now(); time.Since(began) < lasts || rounds < least; rounds++ {
		prompt := harness.Chat(harness.Words(rnd, 8000), false)
		began := time.Now()
		for range 2 {
			p := g.Predict(t, "/good"+harness.ChatPath, prompt)
			if p.Predicted != p.Reported {
				t.Errorf("round %d: %d tokens were predicted, %d were cached", rounds, p.Predicted, p.Reported)
			}
			harness.AwaitQuiet(t, engines[:good])
		}
		slowest = max(slowest, time.Since(began))
		if answer := g.Post(t, harness.ChatPath, harness.Chat(harness.Words(rnd, 400), rounds%2 == 0)); answer.Status != http.StatusOK {
			t.Errorf("round %d: status %d", rounds, answer.Status)
		}
		runtime.ReadMemStats(&now)
		most = max(most, now.HeapAlloc)
	}
	for _, e := range engines[:good] {
		if ranks := harness.Publishers(t, e); ranks[0].Known != "complete" || ranks[0].Losses+ranks[0].Malformed > 0 {
			t.Errorf("a good engine: %+v", ranks)
		}
	}
	met := 0
	for _, e := range engines[good:] {
		if ranks := harness.Publishers(t, e); len(ranks) == 1 && (ranks[0].Connected || ranks[0].Restarts+ranks[0].Batches+ranks[0].Malformed > 0) {
			met++
		}
	}
	if met < 6 {
		t.Errorf("only %d attackers got beyond the handshake: this proves little", met)
	}
	absent := harness.Publishers(t, engines[len(engines)-1])
	if len(absent) != 1 || absent[0].Connected || absent[0].Known != "unknown" || absent[0].Failure == "" {
		t.Errorf("an engine without a publisher: %+v", absent)
	}
	var total int64
	for i := range said {
		total += said[i].Load()
	}
	if total < 16<<20 {
		t.Errorf("the attackers have sent only %d bytes: this proves nothing", total)
	}
	t.Logf("%d rounds, the slowest took %v; the attackers sent %d MiB, the heap grew by %d MiB at most", rounds, slowest, total>>20, (most-before.HeapAlloc)>>20)
	if most > before.HeapAlloc+mayGrow {
		t.Errorf("the heap grew from %d to %d MiB", before.HeapAlloc>>20, most>>20)
	}
}
