// SPDX-License-Identifier: Apache-2.0

//go:build unix

package zmtp

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// BenchmarkIdle measures the CPU time of an idle TCP connection for each interval of
// heartbeats: one wait, PING, PONG, on both sides. It extrapolates to 256 connections
// and a PING every 10 s.
func BenchmarkIdle(b *testing.B) {
	const connections = 32
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer listener.Close()
	var ticks atomic.Int64
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go answerPings(conn, &ticks)
		}
	}()
	var conns []*Conn
	for range connections {
		c, err := Dial(context.Background(), listener.Addr().String(), SUB, Options{Ping: time.Millisecond, Idle: 5 * time.Second})
		if err != nil {
			b.Fatal(err)
		}
		defer c.Close()
		conns = append(conns, c)
	}
	b.ReportAllocs()
	ticks.Store(0)
	before := cpu()
	for b.Loop() {
		// A round: each connection waits through ten intervals.
		var waiting sync.WaitGroup
		deadline := time.Now().Add(10 * time.Millisecond)
		for _, c := range conns {
			waiting.Go(func() {
				if err := c.ReceiveUntil(new(Message), deadline); err != ErrDeadline {
					b.Error(err)
				}
			})
		}
		waiting.Wait()
	}
	each := (cpu() - before).Seconds() / float64(ticks.Load())
	b.ReportMetric(each*1e6, "µs-CPU/tick")
	b.ReportMetric(each*25.6*100, "%core/256-idle")
	b.ReportMetric(float64(ticks.Load())/float64(b.N), "ticks/op")
}

func answerPings(conn net.Conn, ticks *atomic.Int64) {
	p := &peer{Conn: conn}
	defer p.Close()
	p.shake(greeting31, readyPUB)
	got := make([]byte, len(pingSent))
	for {
		if _, err := conn.Read(got); err != nil {
			return
		}
		ticks.Add(1)
		if _, err := conn.Write(pongEmpty); err != nil {
			return
		}
	}
}

// cpu returns the CPU time of the process.
func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
