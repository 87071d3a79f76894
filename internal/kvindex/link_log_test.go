// SPDX-License-Identifier: Apache-2.0

package kvindex

import (
	"math/rand/v2"
	"testing"

	"github.com/bauxite/caddy-kvaware/radixcache"
)

// writer enters records whose content is derived from key and version.
type writer struct {
	x       *Index
	version map[uint64]uint64
	most    uint64 // blocks of a record
}

func (w *writer) contentOf(key, version uint64) (m recordMeta, before uint64, blocks []uint64) {
	h := mix(key ^ version<<32)
	blocks = make([]uint64, 0, h%w.most)
	for i := range h % w.most {
		blocks = append(blocks, mix(h+i))
	}
	return newRecordMeta(int(h>>20&tokensMask), int(h>>30&tokensMask), len(blocks), h&1 == 0), mix(h), blocks
}

func (w *writer) enter(key uint64) bool {
	l := &w.x.log
	l.write.Lock()
	defer l.write.Unlock()
	l.prepare()
	l.mu.Lock()
	defer l.mu.Unlock()
	for chances := stepRewrites; !l.reclaim(&chances); chances = stepRewrites {
	}
	m, before, blocks := w.contentOf(key, w.version[key]+1)
	if !l.enter(key, m, before, blocks) {
		return false
	}
	w.version[key]++
	return true
}

// check returns the number of records that are found; these must be right.
func (w *writer) check(t *testing.T) (there int) {
	t.Helper()
	if err := w.x.validate(); err != nil {
		t.Fatal(err)
	}
	l := &w.x.log
	for key, version := range w.version {
		ref := l.find(key)
		if ref == 0 {
			continue
		}
		there++
		m, before, blocks := w.contentOf(key, version)
		rec := l.record(ref)
		if got := rec.meta(); got&^metaReferenced != m || rec.before() != before {
			t.Fatalf("record of %x has version %x, want %x", key, got, m)
		}
		for i, h := range blocks {
			if rec.block(i) != h {
				t.Fatalf("record of %x: block %d is another's", key, i)
			}
		}
	}
	return there
}

// Every record is found as it was written last. Under a limit the newest and the often
// matched ones are. Lowering the limit gives memory back.
func TestLogAndTable(t *testing.T) {
	for seed := range seeds(manySeeds) {
		r := rand.New(rand.NewPCG(seed, 3))
		var reserved int64
		x := New(radixcache.New(1<<20), func(bytes int64) { reserved = bytes })
		w := &writer{x: x, version: map[uint64]uint64{}, most: 40}
		if w.enter(1) || x.Stats().Links != 0 {
			t.Fatal("written without a limit")
		}
		fixed := reserved
		x.SetLimit(LimitDivisor * 40 << 20)
		keys := make([]uint64, 60_000)
		for i := range keys {
			keys[i] = r.Uint64()
		}
		for i := range keys {
			if !w.enter(keys[i]) || i%5 == 0 && !w.enter(keys[r.IntN(i+1)]) {
				t.Fatal("no room")
			}
		}
		if got := w.check(t); got != len(keys) {
			t.Fatalf("%d of %d records with all the room there is", got, len(keys))
		}
		hot := keys[:500]
		for _, mb := range []int64{8, 3, 12, 1} {
			x.SetLimit(LimitDivisor * mb << 20)
			w.check(t)
			for i := range 40_000 {
				key := r.Uint64()
				if i < len(hot) {
					key = hot[i]
				}
				if !w.enter(key) {
					t.Fatal("no room")
				}
				for range 3 {
					if ref := x.log.find(hot[r.IntN(len(hot))]); ref != 0 {
						rec := x.log.record(ref)
						rec.setMeta(rec.meta() | metaReferenced)
					}
				}
			}
			w.check(t)
			still := 0
			for _, key := range hot {
				if x.log.find(key) != 0 {
					still++
				}
			}
			if mb > 1 && still < len(hot)*19/20 {
				t.Fatalf("at %d MB %d of %d often matched records are there", mb, still, len(hot))
			}
			if reserved != x.Stats().Bytes || reserved > mb<<20+fixed || reserved < mb<<20/2 {
				t.Fatalf("%d bytes reserved, %d taken, at %d MB", reserved, x.Stats().Bytes, mb)
			}
		}
		x.SetLimit(0)
		if w.check(t) != 0 || reserved != fixed {
			t.Fatalf("%d bytes left of nothing, %d before", reserved, fixed)
		}
	}
}

// Nothing is dropped while there is memory, also when many records are entered at once.
func TestNothingIsDroppedWithoutNeed(t *testing.T) {
	x, _ := newIndex(1 << 30)
	s := x.Space(TokenKey{Model: "m", BlockTokens: 16})
	r := rand.New(rand.NewPCG(1, 6))
	tokens, anchors := make([]uint32, 8<<10), make([]Anchor, 512)
	for i := range anchors {
		anchors[i] = Anchor{16 * (i + 1), true}
	}
	for n := 1; n <= 400; n++ {
		text := make([]uint64, len(anchors))
		for i := range text {
			text[i] = r.Uint64()
		}
		if x.Link(s, text, anchors, tokens); x.Stats().Links != n*len(text) {
			t.Fatalf("%d links of %d prompts", x.Stats().Links, n)
		}
	}
	if err := x.validate(); err != nil {
		t.Fatal(err)
	}
}

// When records become small the table needs more memory: it takes it from the oldest
// records.
func TestTableGrowsIntoTheLog(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 4))
	x := New(radixcache.New(1<<20), nil)
	x.SetLimit(LimitDivisor * 4 << 20)
	for _, most := range []uint64{200, 1, 80} {
		w := &writer{x: x, version: map[uint64]uint64{}, most: most}
		for range 120_000 {
			if !w.enter(r.Uint64()) {
				t.Fatal("no room")
			}
		}
		there, pages := w.check(t), len(x.log.table.pages)
		if least := 4 << 20 / (8*(headWords+int(most)/2) + 40); there < least/2 {
			t.Fatalf("%d records of at most %d blocks are there, in %d pages", there, most, pages)
		}
	}
}
