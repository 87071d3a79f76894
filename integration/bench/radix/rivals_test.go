// SPDX-License-Identifier: Apache-2.0

package radix

import (
	"fmt"
	"os"
	"runtime"
	"runtime/metrics"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/bauxite/caddy-kvaware/radixcache"
	"github.com/bauxite/caddy-kvaware/radixcache/w1"
)

// rounds is the number of times that each timing is taken. The best one counts: on a
// shared machine the others measure the neighbours.
const rounds = 5

type rival struct {
	name     string
	newIndex func(blocks int) prefixIndex
	slow     bool // too slow for all rounds
}

var rivals = []rival{
	{"radixcache", func(int) prefixIndex { return newTree(1 << 30) }, false},
	{"radixcache, 20 MB", func(int) prefixIndex { return newTree(20_000_000) }, false},
	{"flat table, jump search", func(n int) prefixIndex { return &locked{m: newFlat(n), jump: true} }, false},
	{"flat table, block by block", func(n int) prefixIndex { return &locked{m: newFlat(n)} }, false},
	{"Go map, jump search", func(int) prefixIndex { return &locked{m: gomap{}, jump: true} }, false},
	{"Go map, block by block", func(int) prefixIndex { return &locked{m: gomap{}} }, false},
	{"go-immutable-radix", func(int) prefixIndex { return newImmutable() }, true},
}

// figures are one line of the table.
type figures struct {
	name         string
	p50, p99     time.Duration // of one lookup for all upstreams
	perBlock     float64       // ns for each block of each recorded prompt
	bytes        float64       // for each distinct block
	one, two     float64       // lookups a CPU-second of one and two threads, beside 10 % writes
	scale        float64       // lookups at two threads by those at one, see mixed
	remove       time.Duration // of one upstream
	right, asked int
}

// BenchmarkW1 prints the table of the package documentation:
//
//	cd integration/bench/radix && go test -run - -bench W1 -benchtime 1x -timeout 30m
func BenchmarkW1(b *testing.B) {
	w := w1.New(20000)
	ref := w.NewReference()
	var table []figures
	for _, r := range rivals {
		b.Run(r.name, func(b *testing.B) {
			var f figures
			for b.Loop() {
				f = measure(w, ref, r)
			}
			b.ReportMetric(float64(f.p50), "p50-ns")
			b.ReportMetric(float64(f.p99), "p99-ns")
			f.name = r.name
			table = append(table, f)
		})
	}
	out := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(out, "\nindex\tp50 / p99 us\tns a block\tbytes a block\tlookups a CPU-second at 1, 2 threads\tat 2 by at 1\tremove one\tright")
	for _, f := range table {
		fmt.Fprintf(out, "%s\t%.2f / %.1f\t%.0f\t%.1f\t%.0fk, %.0fk\t%.2f\t%.1f ms\t%d of %d\n", f.name,
			float64(f.p50)/1e3, float64(f.p99)/1e3, f.perBlock, f.bytes, f.one/1e3, f.two/1e3, f.scale,
			float64(f.remove)/1e6, f.right, f.asked)
	}
	out.Flush()
}

func measure(w *w1.Workload, ref *w1.Reference, r rival) (f figures) {
	before := heap()
	x := r.newIndex(w.DistinctBlocks)
	f.perBlock = build(w, x, w.Turns)
	f.bytes = float64(heap()-before) / float64(held(w, x))
	queries := w.Queries(20000, 1)
	f.right, f.asked = check(x, ref, queries[:2000])
	f.p50, f.p99 = latency(x, queries, r.slow)
	start := time.Now()
	x.remove(7)
	f.remove = time.Since(start)
	n := rounds
	if r.slow {
		n = 1
	}
	var atOne, atTwo float64
	for range n {
		one, waited := mixed(w, r, queries, 1)
		f.one, atOne = max(f.one, one), max(atOne, one*(1-waited))
		two, waited := mixed(w, r, queries, 2)
		f.two, atTwo = max(f.two, two), max(atTwo, 2*two*(1-waited))
	}
	f.scale = atTwo / atOne
	return f
}

// heap is the live heap after a collection.
func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// held is the number of distinct blocks in an index.
func held(w *w1.Workload, x prefixIndex) int {
	if t, ok := x.(*tree); ok {
		return t.t.Stats().Blocks
	}
	return w.DistinctBlocks
}

func build(w *w1.Workload, x prefixIndex, turns []w1.Turn) float64 {
	adds := 0
	start := cpu()
	for _, t := range turns {
		x.insert(int(t.Upstream), w.Conversations[t.Conversation].Hashes[:t.Blocks])
		adds += int(t.Blocks)
	}
	return float64(cpu()-start) / float64(adds)
}

// check counts the queries whose answer is right for every upstream. Under a ceiling
// evicted blocks are missing: an answer may then be short, never long.
func check(x prefixIndex, ref *w1.Reference, queries []w1.Query) (right, asked int) {
	t, ours := x.(*tree)
	short := ours && t.t.Stats().Evictions > 0
	for _, q := range queries {
		var got answer
		x.lookup(q.Hashes, &got)
		want, ok := ref.Longest(q.Hashes), true
		for up, n := range got {
			ok = ok && (int(n) == want[up] || short && int(n) < want[up])
		}
		if ok {
			right++
		}
	}
	return right, len(queries)
}

// latency times single lookups, without the time that the clock itself takes.
func latency(x prefixIndex, queries []w1.Query, slow bool) (p50, p99 time.Duration) {
	empty := make([]time.Duration, 10000)
	for i := range empty {
		s := time.Now()
		empty[i] = time.Since(s)
	}
	slices.Sort(empty)
	clock := empty[len(empty)/2]
	n := rounds
	if slow {
		n = 2
	}
	p50, p99 = time.Hour, time.Hour
	times := make([]time.Duration, len(queries))
	look := looker(x)
	for range n {
		for i := range queries {
			s := time.Now()
			look(queries[i].Hashes)
			times[i] = time.Since(s) - clock
		}
		slices.Sort(times)
		p50, p99 = min(p50, times[len(times)/2]), min(p99, times[len(times)*99/100])
	}
	return p50, p99
}

// looker returns a lookup function that keeps its buffer, as a caller would.
func looker(x prefixIndex) func(chain []uint64) {
	if t, ok := x.(*tree); ok {
		buf := *t.buf.New().(*[]radixcache.Match)
		return func(chain []uint64) { buf = t.t.Lookup(chain, buf[:0]) }
	}
	out := new(answer)
	return func(chain []uint64) { *out = answer{}; x.lookup(chain, out) }
}

// mixed records half of the turns. Then it lets threads look up, and record a further
// turn in every tenth operation. It returns the lookups a second of processor time, and
// the share of its time that a thread waited for a lock. Together they give a speed of
// both threads that does not depend on the neighbours' use of the machine.
func mixed(w *w1.Workload, r rival, queries []w1.Query, threads int) (perCPU, waited float64) {
	x := r.newIndex(w.DistinctBlocks)
	half := len(w.Turns) / 2
	build(w, x, w.Turns[:half])
	turns := w.Turns[half : half+len(w.Turns)/4]
	runtime.GC()
	var next atomic.Int64
	next.Store(-1)
	var wg sync.WaitGroup
	var lookups atomic.Int64
	c, before := cpu(), lockWait()
	for range threads {
		wg.Go(func() {
			look := looker(x)
			n := int64(0)
			for i := int(next.Add(1)); i < len(turns); i = int(next.Add(1)) {
				t := turns[i]
				x.insert(int(t.Upstream), w.Conversations[t.Conversation].Hashes[:t.Blocks])
				for j := range 9 {
					look(queries[(i*9+j)%len(queries)].Hashes)
					n++
				}
			}
			lookups.Add(n)
		})
	}
	wg.Wait()
	n := float64(lookups.Load())
	busy, waiting := (cpu() - c).Seconds(), lockWait()-before
	return n / busy, waiting / (busy + waiting)
}

// lockWait is the time that goroutines have waited for locks, in seconds.
func lockWait() float64 {
	s := []metrics.Sample{{Name: "/sync/mutex/wait/total:seconds"}}
	metrics.Read(s)
	return s[0].Value.Float64()
}

// cpu is the processor time that this process has used.
func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
