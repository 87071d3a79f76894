// SPDX-License-Identifier: Apache-2.0

package kvindex

import (
	"time"

	"github.com/bauxite/caddy-kvaware/internal/engine/kvevents"
)

// stepChunks is the number of chunks that expire before events get the lock.
const stepChunks = 32

// scheduleExpiry enters copies in a tier without removals. When there is no room
// the oldest expire early. It returns false when that is not enough.
func (f *Feed) scheduleExpiry(tier kvevents.Tier, keys []uint64) bool {
	t := int(tier) - 1
	if t < 0 || f.sendsRemovals[t] {
		return true
	}
	for {
		keys = keys[f.expiring[t].put(&f.x.chunks, f.x.lastExpire.Load(), keys):]
		if len(keys) == 0 {
			return true
		}
		if f.x.chunks.mayGrow() && f.x.log.releaseOne() {
			continue
		}
		if !f.expireOldest(1-t) && !f.expireOldest(t) {
			return false
		}
	}
}

// expireOldest ends the oldest copies in a tier, a chunk of them.
func (f *Feed) expireOldest(t int) bool {
	var room [chunkKeys]uint64
	keys := f.expiring[t].pop(&f.x.chunks, room[:0])
	f.removeCopies(keys, kvevents.Tier(t+1))
	f.expired.Add(uint64(len(keys)))
	return len(keys) > 0
}

// expireEarly ends the oldest copies before their time, to give memory back.
func (f *Feed) expireEarly() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for range stepChunks {
		if !f.expireOldest(0) && !f.expireOldest(1) {
			return false
		}
		f.incomplete.Store(true)
	}
	return true
}

// expire ends copies that were stored TTL before now or earlier, and returns true
// when there may be more of them. Copies stored before the first Expire count from
// that.
func (f *Feed) expire(now int64) (more bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for range stepChunks {
		done := true
		for t := range f.expiring {
			if at, ok := f.expiring[t].oldest(&f.x.chunks); ok && max(at, f.x.firstExpire.Load())+int64(TTL/time.Second) <= now {
				f.expireOldest(t)
				done = false
			}
		}
		if done {
			return false
		}
	}
	return true
}
