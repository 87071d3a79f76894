// SPDX-License-Identifier: Apache-2.0

//go:build !race

package metrics

import (
	"fmt"
	"testing"
	"time"
)

// A thousand goroutines in one bubble of virtual time make the race detector
// itself fail now and then (https://go.dev/issue/78156), so this one runs
// without it; the same code is raced by the smaller tests.

// With many slow engines only maxConcurrentPolls are asked at once, Watch does not
// wait, and Close ends all polls.
func TestWatchManySlowEngines(t *testing.T) {
	engines := map[string]*fakeEngine{}
	var targets []Target
	for i := range maxWatched + 10 {
		address := fmt.Sprintf("n%d:1", i)
		engines[address] = &fakeEngine{metrics: says(1, 1, 0, 0)}
		targets = append(targets, target(address))
	}
	watching(t, engines, func(w *Watcher, net *fakeEngines, s *recorder) {
		net.hold = time.Minute
		before := time.Now()
		w.Watch(targets...)
		if time.Since(before) != 0 {
			t.Fatal("Watch takes time")
		}
		pass(w, 10*time.Second, targets...)
		if net.most != maxConcurrentPolls {
			t.Fatalf("%d engines asked at once, want %d", net.most, maxConcurrentPolls)
		}
		if n := len(w.States("")); n != maxWatched {
			t.Fatalf("%d engines are watched, want %d", n, maxWatched)
		}
		w.Close()
		if net.atOnce != 0 {
			t.Fatal("after Close an engine is still being asked")
		}
		asked := len(net.asked)
		pass(w, time.Minute, targets...)
		if len(net.asked) != asked {
			t.Fatal("after Close engines are asked")
		}
	})
}
