// SPDX-License-Identifier: Apache-2.0

package kvevents

import (
	"bytes"
	"context"
	"encoding/binary"
	"math/rand/v2"
	"net"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bauxite/caddy-kvaware/internal/engine/msgpack"
	"github.com/bauxite/caddy-kvaware/internal/engine/zmtp"
)

// attack writes until the connection breaks or enough was written.
type attack func(c net.Conn, enough int64, written *atomic.Int64)

// endless writes message 0, 1, 2 and so on.
func endless(message func(i uint64) []byte) attack {
	return func(c net.Conn, enough int64, written *atomic.Int64) {
		var chunk []byte
		for i := uint64(0); written.Load() < enough; {
			for chunk = chunk[:0]; len(chunk) < 1<<16; i++ {
				chunk = append(chunk, message(i)...)
			}
			n, err := c.Write(chunk)
			written.Add(int64(n))
			if err != nil {
				return
			}
		}
	}
}

// attacks returns the data that hostile publishers send after the handshake.
func attacks() map[string]attack {
	r := rand.New(rand.NewPCG(1, 2))
	noise := make([]byte, 1<<16)
	for i := range noise {
		noise[i] = byte(r.Uint32())
	}
	large := bytes.Repeat([]byte{0x91}, 1<<20)
	empties := append(binary.BigEndian.AppendUint32([]byte("\x93\xc0\xdd"), 1<<20), bytes.Repeat([]byte{0x90}, 1<<20+1)...)
	full := batchOf(pairs{"type", "BlockStored", "block_hashes", list(make([]int, maxHashes)), "token_ids", list(make([]int, maxTokens)), "block_size", 8})
	return map[string]attack{
		"random bytes": endless(func(uint64) []byte { return noise }),
		"endless frame": endless(func(i uint64) []byte {
			return append([]byte("\x00\x00\x00\x02\xff\xff\xff\xff\xff\xff\xff\xff")[min(i, 1)*12:], noise...)
		}),
		"endless message": endless(func(uint64) []byte { return append([]byte("\x01\xff"), noise[:255]...) }),
		"nested deep":     endless(func(i uint64) []byte { return appendMessage(nil, nil, seqOf(i), large) }),
		"many events":     endless(func(i uint64) []byte { return appendMessage(nil, nil, seqOf(i), empties) }),
		"large events":    endless(func(i uint64) []byte { return appendMessage(nil, nil, seqOf(i), full) }),
		"gaps":            endless(func(i uint64) []byte { return appendMessage(nil, nil, seqOf(i*1000), batchOf(storeOf(i))) }),
		"restarts":        endless(func(i uint64) []byte { return appendMessage(nil, nil, seqOf(1<<40-i), batchOf(storeOf(i))) }),
		"huge numbers":    endless(func(i uint64) []byte { return appendMessage(nil, nil, seqOf(1<<64-2-i%2), batchOf(storeOf(i))) }),
		"no batches":      endless(func(uint64) []byte { return appendMessage(nil, nil, nil) }),
		"endless history": endless(func(i uint64) []byte { return appendMessage(nil, nil, nil, seqOf(i), batchOf(storeOf(i))) }),
		"heartbeats":      endless(func(uint64) []byte { return []byte("\x04\x07\x04PING\x00\x00") }),
	}
}

// TestHostilePublishers: each attacks on both ports, while the same Subscriber
// follows a good publisher.
func TestHostilePublishers(t *testing.T) {
	enough := int64(48 << 20) // far more than may be held of one publisher
	if testing.Short() {
		enough = 18 << 20 // more than a message may have
	}
	const may = 400 << 20
	for name, a := range attacks() {
		t.Run(name, func(t *testing.T) {
			good := newTCPPublisher(t)
			good.publish(batchOf(storeOf(0)))
			var written, ended atomic.Int64
			port := func(ready []byte) string {
				return serve(t, func(c net.Conn) {
					defer ended.Add(1)
					if shake(c, ready) == nil {
						a(c, enough, &written)
					}
				})
			}
			evil := Publisher{Upstream: "evil:1", Events: port(readyPUB), Replay: port(readyROUTER)}
			opened := newSinks()
			subscriber := NewSubscriber(Options{Open: opened.open})
			watch(t, subscriber, good.publisher("good:1"), evil)
			sink := opened.get(t, "good:1")
			sink.await(t, "the good one's history", func(b map[uint64]uint64, k Knowledge) bool { return k == Complete && len(b) == 1 })
			until(t, "the subscription", func() bool {
				good.mu.Lock()
				defer good.mu.Unlock()
				return len(good.live) == 1
			})
			var memory runtime.MemStats
			h := uint64(0)
			until(t, "the attack's end", func() bool {
				if h++; h%10 == 1 {
					runtime.ReadMemStats(&memory)
				}
				good.publish(batchOf(storeOf(h)))
				want := int(h) + 1
				sink.await(t, "a batch of the good one", func(b map[uint64]uint64, k Knowledge) bool { return k == Complete && len(b) == want })
				if memory.HeapAlloc > may {
					t.Fatalf("%d MiB are in use", memory.HeapAlloc>>20)
				}
				return written.Load() >= enough || ended.Load() >= 3
			})
			subscriber.Close()
			if held := subscriber.queuedBytes.Load(); held != 0 {
				t.Errorf("%d bytes are still counted in the end", held)
			}
		})
	}
}

// TestHistoryThatDrips: a publisher that answers with a batch a second, for ever,
// holds a replay for a limited time; others get theirs.
func TestHistoryThatDrips(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		var evil []Publisher
		for i := range maxReplays {
			evil = append(evil, Publisher{Upstream: "evil", Rank: i, Events: "evil:1", Replay: "evil:2"})
		}
		w.net.publishers["evil"] = newFakePublisher()
		inner := w.subscriber.options.Dial
		w.subscriber.options.Dial = func(ctx context.Context, address string, s zmtp.Socket) (Conn, error) {
			c, err := inner(ctx, address, s)
			if address == "evil:2" && err == nil {
				return drip{c.(*fakeConn), new(uint64)}, nil
			}
			return c, err
		}
		w.subscriber.Follow(evil...)
		synctest.Wait()
		w.p.store(1)
		began := time.Now()
		for !time.Now().After(began.Add(replayTime + replaySilence)) {
			w.subscriber.Follow(append(evil, publisher)...)
			time.Sleep(time.Second)
			synctest.Wait()
		}
		for _, s := range w.subscriber.States("a:8000") {
			if s.Knowledge != Complete {
				t.Errorf("%+v", s)
			}
		}
		for _, s := range w.subscriber.States("evil") {
			if s.Knowledge != Unknown || s.Batches > 130 {
				t.Errorf("%+v", s)
			}
		}
		w.subscriber.Close()
	})
}

// drip answers with the next batch once a second.
type drip struct {
	*fakeConn
	n *uint64
}

func (d drip) Send(...[]byte) error { return nil }

func (d drip) ReceiveUntil(m *zmtp.Message, _ time.Time) error {
	timer := time.NewTimer(time.Second)
	defer timer.Stop()
	select {
	case <-timer.C:
		m.Parts = [][]byte{{}, {}, seqOf(*d.n), batchOf(storeOf(*d.n))}
		*d.n++
		return nil
	case <-d.closed:
		return d.broken
	}
}

func TestQueueBounds(t *testing.T) {
	var held atomic.Int64
	q := newQueue(&held)
	parts := func(n int) [][]byte { return [][]byte{{}, seqOf(1), make([]byte, n)} }
	q.offer(parts(freeQueueBytes))
	if held.Load() != 0 || len(q.waiting) != 1 {
		t.Fatalf("%d held, %d wait", held.Load(), len(q.waiting))
	}
	q.offer(parts(1000))
	if held.Load() != 1000 {
		t.Errorf("%d held", held.Load())
	}
	held.Add(sharedQueueBytes - 1500) // of others
	q.offer(parts(1000))              // does not fit
	q.offer(parts(500))               // does
	if held.Load() != sharedQueueBytes || len(q.waiting) != 3 {
		t.Errorf("%d of %d held, %d wait", held.Load(), int64(sharedQueueBytes), len(q.waiting))
	}
	held.Add(-(sharedQueueBytes - 1500))
	batch, _, _ := q.pop(nil)
	for _, m := range batch[:2] {
		q.done(m)
	}
	if q.bytes != 500 || held.Load() != 0 {
		t.Errorf("%d bytes, %d held", q.bytes, held.Load())
	}
	for range maxQueueBatches {
		q.offer(parts(1))
	}
	ready := make(chan bool)
	go func() { ready <- q.awaitRoom() }()
	select {
	case <-ready:
		t.Error("there is room in a full queue")
	default:
	}
	q.pop(nil)
	q.done(message{payload: make([]byte, 1)})
	if !<-ready {
		t.Error("it was stopped")
	}
	q.stop()
	if q.awaitRoom() || q.bytes != 0 || held.Load() != 0 {
		t.Errorf("%d bytes, %d held after the stop", q.bytes, held.Load())
	}
	q.offer(parts(10))
	if len(q.waiting) != 0 {
		t.Error("it takes more after the stop")
	}
}

// TestDeepBatch: a batch that is nested too deep to be skipped is not read. It
// costs the knowledge, not the connection.
func TestDeepBatch(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.subscriber.Follow(publisher)
		synctest.Wait()
		w.p.store(1)
		deep := append([]byte("\x92\xc0\x91"), bytes.Repeat([]byte{0x91}, msgpack.MaxDepth+1)...)
		w.p.publishRaw(append(deep, 0xc0))
		w.check(t, Partial)
		w.p.store(2)
		w.check(t, Partial)
		if s := w.state(); s.Malformed != 1 || !s.Connected || s.Batches != 3 {
			t.Errorf("%+v", s)
		}
	})
}
