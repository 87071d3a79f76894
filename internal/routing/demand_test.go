// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"testing"
	"time"
)

func TestDemand(t *testing.T) {
	var d demand
	now := epoch
	for range 6000 { // half a second of work every second
		now = now.Add(time.Second)
		d.add(now, 500*time.Millisecond)
	}
	share, rate := d.lately(now)
	if perSecond := rate * 1e9; share < 0.48 || share > 0.52 || perSecond < 0.96 || perSecond > 1.04 {
		t.Errorf("demand %v at %v requests a second, want 0.5 at 1", share, perSecond)
	}
	if share, rate := d.lately(now.Add(demandMemory)); share != 0 || rate != 0 {
		t.Errorf("demand %v, rate %v long after", share, rate)
	}
}
