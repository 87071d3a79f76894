// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"
)

func TestLeaseCounts(t *testing.T) {
	q := New()
	l := upload(t, q, client(1), mega, 100, time.Second)
	if !l.TryGrow(50) || l.TryGrow(mega) {
		t.Error("TryGrow takes bytes that do not fit, or refuses bytes that do")
	}
	l.Shrink(20)
	if got := q.used.Load(); got != 130 {
		t.Errorf("used %d, want 130", got)
	}
	q.validate(t)
	for range 2 {
		if !l.Complete() {
			t.Error("Complete reports a preemption that never was")
		}
	}
	if len(q.clients) != 0 {
		t.Error("a complete body still counts as an upload")
	}
	l.ShrinkTo(30)
	l.ShrinkTo(500)
	if got := q.used.Load(); got != 30 {
		t.Errorf("used %d, want 30", got)
	}
	l.Close()
	l.Close()
	l.Shrink(10)
	if err := l.Grow(t.Context(), 1); err == nil || l.TryGrow(1) {
		t.Error("a closed lease grows")
	}
	wantEmpty(t, q)
}

// modelLease is a lease of the model below.
type modelLease struct {
	*Lease
	want      int64 // bytes held
	uploading bool
	closed    bool
}

// model is the plain form of a queue in which no lease waits: it sums up all
// leases each time.
type model struct {
	leases   []*modelLease
	retained int64
}

func (m *model) used() (n int64) {
	for _, l := range m.leases {
		n += l.want
	}
	return n
}

// uploads returns the number of bytes in a client's incomplete uploads.
func (m *model) uploads(client netip.Addr) (n int64) {
	for _, l := range m.leases {
		if l.uploading && l.Client == client {
			n += l.want
		}
	}
	return n
}

// fits reports whether a lease that announces nothing may take n more bytes.
func (m *model) fits(l *modelLease, n int64) bool {
	if l.closed || m.used()+n > l.Limit {
		return false
	}
	share := l.Limit / UploadShare
	switch {
	case !l.uploading:
		return true
	case l.want > 0 || m.used() == 0:
		return m.uploads(l.Client)+n <= share
	}
	// A new upload leaves a quarter free, unless it stays in an equal part.
	return m.uploads(l.Client)+n <= share && m.used()+n <= l.Limit/4*3 || m.uploads(l.Client)+n <= share/m.clients()
}

// clients returns the number of clients with incomplete uploads.
func (m *model) clients() int64 {
	seen := make(map[netip.Addr]bool)
	for _, l := range m.leases {
		if l.uploading {
			seen[l.Client] = true
		}
	}
	return int64(len(seen))
}

// Random operations give the same answers and sums as a plain model.
func TestLeaseAgainstModel(t *testing.T) {
	seeds := uint64(200)
	if testing.Short() {
		seeds = 20
	}
	for seed := range seeds {
		rnd := rand.New(rand.NewPCG(7, seed))
		q, m := New(), new(model)
		for step := range 300 {
			m.step(t, q, rnd)
			if s := q.Stats(); s.Used != m.used() || s.Retained != m.retained {
				t.Fatalf("seed %d, step %d: %+v, want %d used, %d retained", seed, step, s, m.used(), m.retained)
			}
			q.validate(t)
		}
		for _, l := range m.leases {
			l.Close()
		}
		q.Unretain(m.retained)
		wantEmpty(t, q)
	}
}

// step does one random operation on both.
func (m *model) step(t *testing.T, q *Queue, rnd *rand.Rand) {
	if len(m.leases) == 0 || rnd.IntN(8) == 0 {
		r := Request{Client: client(rnd.IntN(3)), Limit: int64(mega / (1 + rnd.IntN(2))), MaxWait: time.Second, Announced: -1}
		m.leases = append(m.leases, &modelLease{Lease: q.Open(r), uploading: true})
	}
	l := m.leases[rnd.IntN(len(m.leases))]
	n := int64(1 + rnd.IntN(200_000))
	switch rnd.IntN(9) {
	case 0, 1, 2:
		if want := m.fits(l, n); l.TryGrow(n) != want {
			t.Fatalf("TryGrow(%d) beside %d bytes: want %t", n, m.used(), want)
		} else if want {
			l.want += n
		}
	case 3:
		want := m.fits(l, n) && m.retained+n <= l.Limit/RetainShare
		if l.TryRetain(n, n) != want {
			t.Fatalf("TryRetain(%d) beside %d bytes, %d retained: want %t", n, m.used(), m.retained, want)
		} else if want {
			l.want, m.retained = l.want+n, m.retained+n
		}
	case 4:
		l.Force(n - 100_000)
		if !l.closed {
			l.want = max(0, l.want+n-100_000)
		}
	case 5:
		l.Shrink(n)
		l.want = max(0, l.want-n)
	case 6:
		l.ShrinkTo(n)
		l.want = min(l.want, n)
	case 7:
		m.leases = append(m.leases, &modelLease{Lease: l.Split(n), want: min(n, l.want)})
		l.want -= min(n, l.want)
	case 8:
		if rnd.IntN(2) == 0 {
			l.Close()
			l.closed, l.want = true, 0
		} else {
			l.Complete()
		}
		l.uploading = false
	}
}
