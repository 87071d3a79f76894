// SPDX-License-Identifier: Apache-2.0

package kvevents

import (
	"math/rand/v2"
	"time"
)

// disturb has the engine store or remove blocks, or sets a fault.
func (w *world) disturb(r *rand.Rand) {
	p := w.p
	hash := r.Uint64N(12)
	switch r.IntN(22) {
	default:
		p.mu.Lock()
		n := p.blocks[hash]
		p.mu.Unlock()
		if n == 0 || n < 3 && r.IntN(2) == 0 {
			p.store(hash)
		} else {
			p.remove(hash)
		}
	case 0:
		p.clear()
	case 1:
		p.set(func(p *fakePublisher) { p.loseLive = r.IntN(3) })
	case 2:
		p.drop()
	case 3:
		p.restart(true)
	case 4:
		p.set(func(p *fakePublisher) { p.refuseReplay = r.IntN(3) == 0 })
	case 5:
		p.set(func(p *fakePublisher) { p.refuse = r.IntN(4) == 0 })
	case 6:
		p.set(func(p *fakePublisher) { p.keep = r.IntN(3) * r.IntN(20) })
	case 7:
		p.set(func(p *fakePublisher) { p.noEnd = r.IntN(4) == 0 })
	case 8:
		p.set(func(p *fakePublisher) {
			p.replayed = nil
			if every := 2 + r.IntN(20); r.IntN(2) == 0 {
				p.replayed = func(i int, _ *msg) bool { return i%every != every-1 }
			}
		})
	case 9, 10, 11:
		time.Sleep(time.Duration(r.Int64N(int64(10 * time.Second))))
	case 12:
		w.keep(time.Duration(r.Int64N(int64(2*time.Minute))), w.state().Publisher)
	case 13:
		if r.IntN(5) == 0 {
			p.publishRaw([]byte("\x93\xc0\xdd\xff\xff\xff\xffgarbage"))
		}
	}
}

// hidden reports whether the last batch was not sent to the connections there are,
// so that its loss cannot be noticed yet.
func (p *fakePublisher) hidden() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.batches) != p.sent
}

// spoiled reports whether a batch of this process cannot be read.
func (p *fakePublisher) spoiled() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, b := range p.batches {
		if _, _, err := decoded(b); err != nil {
			return true
		}
	}
	return false
}
