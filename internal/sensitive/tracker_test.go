// SPDX-License-Identifier: Apache-2.0

package sensitive

import (
	"sync"
	"testing"
)

// A tracker collects the buffers made between Track and Stop.
func TestTracker(t *testing.T) {
	Append("test", nil, 'x')
	tracker := Track()
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() { Make("test", 1, 8) })
	}
	all.Wait()
	if n := len(tracker.Buffers()); n != 8 {
		t.Errorf("%d buffers were tracked, want 8", n)
	}
	tracker.Stop()
	Append("test", nil, 'x')
	if n := len(tracker.Buffers()); n != 0 {
		t.Errorf("%d buffers are left after Stop, want 0", n)
	}
}
