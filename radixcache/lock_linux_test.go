// SPDX-License-Identifier: Apache-2.0

package radixcache

import (
	"runtime"
	"syscall"
	"testing"
	"time"
	"unsafe"
)

// threadCPU is the processor time that this thread has used. Other work on the
// machine does not add to it.
func threadCPU() time.Duration {
	const threadClock = 3 // CLOCK_THREAD_CPUTIME_ID
	var ts syscall.Timespec
	if _, _, e := syscall.RawSyscall(syscall.SYS_CLOCK_GETTIME, threadClock, uintptr(unsafe.Pointer(&ts)), 0); e != 0 {
		panic(e)
	}
	return time.Duration(ts.Nano())
}

// BenchmarkSteps prints the longest time that an operation holds the lock, in
// processor time, on the shapes that are hardest on one step each. Other writers may
// have to wait that long. It takes the best of several rounds: on a shared machine
// the others measure what the neighbours do to the caches.
func BenchmarkSteps(b *testing.B) {
	for _, w := range worst {
		b.Run(w.name, func(b *testing.B) {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			tree, do := w.build()
			best := time.Hour
			holds := 0
			tree.mostWork = 0
			for b.Loop() {
				var longest time.Duration
				start := threadCPU()
				let := func() {
					holds++
					longest = max(longest, threadCPU()-start)
					start = threadCPU()
				}
				tree.onYield = let
				do(let)
				let()
				tree.onYield = nil
				best = min(best, longest)
			}
			b.ReportMetric(float64(best.Microseconds()), "us-held")
			b.ReportMetric(float64(tree.mostWork), "units")
			b.ReportMetric(float64(holds)/float64(b.N), "holds")
		})
	}
}
