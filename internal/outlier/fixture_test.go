// SPDX-License-Identifier: Apache-2.0

package outlier

import (
	"fmt"
	"testing"
	"time"
)

// testClock is a clock that tests move.
type testClock struct{ t time.Time }

func (c *testClock) now() time.Time          { return c.t }
func (c *testClock) advance(d time.Duration) { c.t = c.t.Add(d) }
func (c *testClock) set(since time.Duration) { c.t = testStart.Add(since) }
func (c *testClock) elapsed() time.Duration  { return c.t.Sub(testStart) }

var testStart = time.Unix(1_800_000_000, 0)

// log is an Observer that remembers what it is told.
type log struct{ lines []string }

func (l *log) Failed(address string, k Kind) {}
func (l *log) Ejected(address string, k Kind, d time.Duration) {
	l.lines = append(l.lines, fmt.Sprintf("%s %s %v", address, k, d))
}
func (l *log) Returned(address string) { l.lines = append(l.lines, address+" back") }

// fixture is a detector with its clock and its log.
type fixture struct {
	*Detector
	clock *testClock
	log   *log
	o     Options
}

func newFixture(o Options) *fixture {
	b := &fixture{clock: &testClock{testStart}, log: &log{}, o: o.WithDefaults()}
	b.Detector = New(b.clock.now, b.log)
	return b
}

// start starts an attempt whose answer is overdue after due.
func (b *fixture) start(address string, due time.Duration) *Attempt {
	a := b.NewAttempt(address, due, b.o)
	a.Start()
	return a
}

// fail makes failed attempts in a row.
func (b *fixture) fail(address string, k Kind, times int) {
	for range times {
		b.start(address, 0).Fail(k, 0)
	}
}

// assess assesses one upstream.
func (b *fixture) assess(address string) Assessment {
	var out [1]Assessment
	b.Assess([]string{address}, out[:])
	return out[0]
}

// wantState checks an upstream's state and whether it takes a request.
func (b *fixture) wantState(t *testing.T, address string, s State, takes bool) {
	t.Helper()
	if a := b.assess(address); a.State != s || a.Takes != takes {
		t.Fatalf("at %v: %s is %s, takes %v; want %s, %v", b.clock.elapsed(), address, a.State, a.Takes, s, takes)
	}
}
