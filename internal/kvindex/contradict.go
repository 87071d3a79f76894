// SPDX-License-Identifier: Apache-2.0

package kvindex

import "sync/atomic"

// storeLogSize is the number of events with stored blocks that a feed remembers:
// more than an engine publishes while it computes a prompt, mostly.
const storeLogSize = 64

// storeLog remembers the latest events that stored blocks on the GPU.
type storeLog struct {
	count  atomic.Uint64
	events [storeLogSize]storeEvent
}

type storeEvent struct {
	first  uint64 // hash of the first block
	blocks int
}

func (l *storeLog) add(first uint64, blocks int) {
	n := l.count.Load()
	l.events[n%storeLogSize] = storeEvent{first, blocks}
	l.count.Store(n + 1)
}

// since returns the blocks that each event after the first count ones stored, by the
// hash of the first of them. ok is false when there are more than are remembered.
func (l *storeLog) since(count uint64) (blocks map[uint64]int, ok bool) {
	now := l.count.Load()
	if now-count > storeLogSize {
		return nil, false
	}
	blocks = make(map[uint64]int, now-count)
	for ; count < now; count++ {
		e := l.events[count%storeLogSize]
		blocks[e.first] = max(blocks[e.first], e.blocks)
	}
	return blocks, true
}

// Stores returns the number of events that have stored blocks on the GPU so far.
func (f *Feed) Stores() uint64 { return f.stores.count.Load() }

// Contradict takes in that the engine had only the first held blocks of a chain when
// it began to compute a prompt, after it had published so many stores. The feed had
// the whole chain. The engine has computed the others since: those that it has also
// published have one copy now, and the rest are dropped. Their event brings them back
// when it is late.
func (f *Feed) Contradict(chain []uint64, held int, stores uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed || f.tiered.Load() || held < 0 {
		return
	}
	published, ok := f.stores.since(stores)
	until, from := 0, held // blocks before until are published
	for i, h := range chain {
		until = max(until, i+published[h])
		if i < held || i < until || !ok {
			continue
		}
		f.x.tree.SingleCopies(f.upstream, chain[:i], from)
		f.x.tree.DropBlock(f.upstream, chain, i)
		f.contradicted.Add(1)
		from = i + 1
	}
	f.x.tree.SingleCopies(f.upstream, chain, from)
}
