// SPDX-License-Identifier: Apache-2.0

package lmcache

import (
	"testing"
	"time"
)

// TestStatusPauses: a node that never answers is asked less and less often. One that
// answers is asked at a fixed interval, as its engine may have started meanwhile.
func TestStatusPauses(t *testing.T) {
	now := time.Unix(1000, 0)
	w := &wire{answers: map[string]reply{"GET http://a:8080/status": {status: 500}}}
	s := newStatuses(w, func() time.Time { return now })
	asked := func(d time.Duration) (n int) {
		for end := now.Add(d); now.Before(end); now = now.Add(time.Second) {
			s.get(t.Context(), mustURL(t, "http://a:8080"))
		}
		n, w.sent = len(w.sent), nil
		return n
	}
	// After 0, 30, 90, 210, 450 and 930 seconds, and every 16 minutes from then on.
	if n := asked(time.Hour); n != 8 {
		t.Errorf("asked %d times in an hour", n)
	}
	w.answers["GET http://a:8080/status"] = reply{status: 200, body: nodeStatusAnswer}
	asked(maxStatusPause)
	if n := asked(10 * statusTTL); n != 10 {
		t.Errorf("one that answers was asked %d times in 5 minutes", n)
	}
}
