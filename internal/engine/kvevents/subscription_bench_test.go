// SPDX-License-Identifier: Apache-2.0

package kvevents

import (
	"fmt"
	"runtime"
	"syscall"
	"testing"
	"time"
)

// nothing is a Sink that only counts blocks.
type nothing struct {
	blocks int
	known  chan Knowledge
}

func (n *nothing) Apply(e *Event) bool { n.blocks += len(e.Hashes); return true }
func (n *nothing) Clear()              { n.blocks = 0 }
func (n *nothing) SetKnowledge(k Knowledge) {
	if n.known != nil {
		n.known <- k
	}
}

func processorTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkIdle follows 256 silent publishers over TCP for two minutes at a time,
// with heartbeats and probes, and the publishers' side of them. %core is the use of
// one core.
func BenchmarkIdle(b *testing.B) {
	const numPublishers = 256
	var before, after runtime.MemStats
	subscriber := NewSubscriber(Options{Open: func(Publisher) Sink { return &nothing{} }})
	defer subscriber.Close()
	var publishers []Publisher
	for i := range numPublishers {
		p := newTCPPublisher(b)
		p.batches = [][]byte{batchOf(storeOf(1))}
		publishers = append(publishers, p.publisher(fmt.Sprint("engine", i, ":8000")))
	}
	goroutines := runtime.NumGoroutine()
	runtime.GC()
	runtime.ReadMemStats(&before)
	subscriber.Follow(publishers...)
	until(b, "all are followed", func() bool {
		for _, s := range subscriber.States("") {
			if s.Knowledge != Complete {
				return false
			}
		}
		return true
	})
	goroutines = runtime.NumGoroutine() - goroutines
	runtime.GC()
	runtime.ReadMemStats(&after)
	used, took := time.Duration(0), time.Duration(0)
	tick := time.NewTicker(10 * time.Second)
	defer tick.Stop()
	for b.Loop() {
		began, at := processorTime(), time.Now()
		for range 12 {
			subscriber.Follow(publishers...)
			<-tick.C
		}
		used += processorTime() - began
		took += time.Since(at)
	}
	b.ReportMetric(100*used.Seconds()/took.Seconds(), "%core")
	b.ReportMetric(float64(goroutines)/numPublishers, "goroutines/publisher") // one for its live stream is the publishers' own
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/numPublishers, "B/publisher")
}

// BenchmarkHistory reads 10,000 batches of a publisher over TCP.
func BenchmarkHistory(b *testing.B) {
	for _, blocks := range []int{1, 16} {
		b.Run(fmt.Sprint(blocks, "blocks"), func(b *testing.B) {
			p := newTCPPublisher(b)
			hashes, tokens := make([]uint64, blocks), make([]uint32, 16*blocks)
			for i := range hashes {
				hashes[i] = uint64(i) << 50
			}
			for i := range tokens {
				tokens[i] = uint32(1000 + i)
			}
			payload := batchOf(pairs{"type", "BlockStored", "block_hashes", list(hashes), "parent_block_hash", nil, "token_ids", list(tokens), "block_size", 16})
			for range 10000 {
				p.batches = append(p.batches, payload)
			}
			used := processorTime()
			for b.Loop() {
				n := &nothing{known: make(chan Knowledge, 9)}
				subscriber := NewSubscriber(Options{Open: func(Publisher) Sink { return n }})
				subscriber.Follow(p.publisher("a:8000"))
				for k := range n.known {
					if k == Complete {
						break
					}
				}
				subscriber.Close()
				if n.blocks != 10000*blocks {
					b.Fatal(n.blocks)
				}
			}
			used = processorTime() - used
			b.ReportMetric(float64(b.N*10000*blocks)/used.Seconds(), "blocks/cpu-s")
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(b.Elapsed().Seconds()*1e3/float64(b.N), "ms/history")
		})
	}
}
