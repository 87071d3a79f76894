// SPDX-License-Identifier: Apache-2.0

package kvevents

import (
	"math"
	"sync"
	"time"
)

// decoders holds unused decoders, since most publishers are idle.
var decoders = sync.Pool{New: func() any { return new(Decoder) }}

// apply decodes a batch, readable or not, and passes its events to the sink.
func (sub *subscription) apply(m message, live bool) {
	done, ok := sub.awaitTurn()
	if !ok {
		return
	}
	began := time.Now()
	d := decoders.Get().(*Decoder)
	unindexed := uint64(0)
	batch, err := d.Decode(m.payload, func(e *Event) bool {
		if e.Kind == Cleared {
			sub.position.complete = true
		}
		if !sub.sink.Apply(e) {
			unindexed++
		}
		return true
	})
	decoders.Put(d)
	sub.applyTime += time.Since(began)
	done()
	sub.position.advance(m.seq)
	malformed := uint64(batch.Malformed())
	switch {
	case err != nil:
		// The batch may have removed any block.
		malformed++
		sub.discard()
	case batch.LostRemovals > 0:
		sub.discard()
	case batch.LostStores > 0:
		sub.position.complete = false
	}
	sub.update(func(s *State) {
		s.Batches++
		s.Events += uint64(batch.Events)
		s.Unindexed += unindexed
		s.Malformed += malformed
		if live {
			s.Last = time.Now()
			s.Lag = lag(s.Last, batch.Time)
		}
	})
}

// lag returns the time since an engine's timestamp, between 0 and a day: clocks
// differ and publishers lie.
func lag(now time.Time, ts float64) time.Duration {
	const day = 24 * time.Hour
	seconds := float64(now.UnixNano())/1e9 - ts
	if math.IsNaN(seconds) || seconds <= 0 {
		return 0
	}
	return time.Duration(min(seconds, day.Seconds()) * float64(time.Second))
}
