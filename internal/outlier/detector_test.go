// SPDX-License-Identifier: Apache-2.0

package outlier

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

func TestFailuresInARowEject(t *testing.T) {
	for _, c := range []struct {
		kind  Kind
		times int
	}{{Dial, 3}, {Reset, 3}, {Status, 3}, {Cut, 3}, {Stalled, 2}, {Timeout, 2}} {
		b := newFixture(Options{})
		b.fail("a", c.kind, c.times-1)
		b.wantState(t, "a", Ready, true)
		b.fail("a", c.kind, 1)
		b.wantState(t, "a", Out, false)
		b.wantState(t, "b", Ready, true)
		if want := []string{"a " + c.kind.String() + " 2s"}; !slices.Equal(b.log.lines, want) {
			t.Errorf("log %q, want %q", b.log.lines, want)
		}
	}
}

func TestASuccessBetweenFailuresCounts(t *testing.T) {
	b := newFixture(Options{})
	for range 20 {
		b.fail("a", Reset, 2)
		b.start("a", 0).Succeed()
	}
	b.wantState(t, "a", Ready, true)
}

func TestEjectionsGrowUntilAProbeSucceeds(t *testing.T) {
	b := newFixture(Options{})
	b.fail("a", Status, 3)
	for _, d := range []time.Duration{2, 4, 8, 15, 15} {
		b.clock.advance(d*time.Second - 1)
		b.wantState(t, "a", Out, false)
		b.clock.advance(1)
		b.wantState(t, "a", HalfOpen, true)
		probe := b.start("a", 0)
		if !probe.Probe() {
			t.Fatal("the first attempt is no probe")
		}
		b.wantState(t, "a", HalfOpen, false) // one at a time
		if b.start("a", 0).Probe() {
			t.Fatal("a second probe")
		}
		probe.Fail(Status, 0)
	}
	b.clock.advance(15 * time.Second)
	b.start("a", 0).Succeed()
	b.clock.advance(slowStart)
	b.log.lines = nil
	b.fail("a", Status, 3) // some time later the first ejection is short again
	if want := []string{"a status 2s"}; !slices.Equal(b.log.lines, want) {
		t.Errorf("log %q, want %q", b.log.lines, want)
	}
}

func TestAProbeThatNeverStartsIsReplaced(t *testing.T) {
	b := newFixture(Options{})
	b.fail("a", Status, 3)
	b.clock.advance(2 * time.Second)
	b.NewAttempt("a", 0, b.o) // its request ends before it is sent
	b.wantState(t, "a", HalfOpen, false)
	b.clock.advance(claimTime)
	b.wantState(t, "a", HalfOpen, true)
}

func TestAReturningUpstreamStartsSlowly(t *testing.T) {
	b := newFixture(Options{})
	b.fail("a", Dial, 3)
	b.clock.advance(2 * time.Second)
	b.start("a", 0).Succeed()
	b.wantState(t, "a", Returning, true)
	one := b.start("a", 0)
	b.wantState(t, "a", Returning, false)
	one.Succeed()
	b.start("a", 0)
	b.wantState(t, "a", Returning, true)
	b.start("a", 0)
	b.wantState(t, "a", Returning, false)
	b.clock.advance(slowStart)
	b.wantState(t, "a", Ready, true)

	b.clock.set(0)
	b.fail("b", Dial, 3)
	b.clock.advance(2 * time.Second)
	b.start("b", 0).Succeed()
	b.fail("b", Dial, 1) // one failure is enough now, and the time grows
	if last := b.log.lines[len(b.log.lines)-1]; last != "b dial 4s" {
		t.Errorf("last line %q", last)
	}
}

func TestFailuresOfEarlierRequestsDoNotRenewAnEjection(t *testing.T) {
	b := newFixture(Options{})
	var early []*Attempt
	for range 10 {
		early = append(early, b.start("a", 0))
	}
	b.clock.advance(time.Second)
	b.fail("a", Reset, 3)
	for _, a := range early {
		a.Fail(Reset, 0)
	}
	early[0].Succeed() // it has ended
	b.clock.advance(2 * time.Second)
	b.wantState(t, "a", HalfOpen, true)
}

func TestBusyUpstreamsAreLeftAlone(t *testing.T) {
	b := newFixture(Options{})
	b.start("a", 0).Fail(Limited, 7*time.Second)
	b.clock.advance(7*time.Second - 1)
	b.wantState(t, "a", Busy, false)
	b.clock.advance(1)
	b.wantState(t, "a", HalfOpen, true)

	b.start("b", 0).Fail(Limited, 24*time.Hour)
	b.clock.advance(maxRetryAfter)
	b.wantState(t, "b", HalfOpen, true)

	b.clock.advance(time.Hour)
	sent := 0
	for end := b.clock.elapsed() + 20*time.Second; b.clock.elapsed() < end; b.clock.advance(50 * time.Millisecond) {
		if b.assess("c").Takes {
			b.start("c", 0).Fail(Limited, 0)
			sent++
		}
	}
	if sent < 4 || sent > 10 {
		t.Errorf("an upstream that answers 429 got %d requests in 20s: less, but not nothing", sent)
	}
	b.clock.advance(maxLimit)
	busy := b.start("c", 0)
	for range 9 {
		b.start("c", 0)
	}
	busy.Succeed() // it serves nine others: it takes as many and one more
	b.wantState(t, "c", Returning, true)
	b.start("c", 0)
	b.wantState(t, "c", Returning, false)
}

func TestAnOverdueAnswerDelaysOthers(t *testing.T) {
	b := newFixture(Options{})
	a := b.start("a", 3*time.Second)
	fine := b.start("b", 0)
	b.clock.advance(3*time.Second - 1)
	if !b.Quiet() {
		t.Fatal("nothing is overdue yet")
	}
	b.clock.advance(1)
	if b.Quiet() {
		t.Fatal("quiet with an overdue answer")
	}
	if got := b.assess("a").Penalty; got != 3*time.Second {
		t.Errorf("penalty %v, want the 3s that it has waited", got)
	}
	if got := b.assess("b").Penalty; got != 0 {
		t.Errorf("penalty %v of an upstream where nothing is overdue", got)
	}
	a.Progress()
	a.Succeed()
	fine.Succeed()
	if !b.Quiet() {
		t.Error("an answer that came late was no failure")
	}
}

func TestAClientThatGivesUpOnAHang(t *testing.T) {
	b := newFixture(Options{})
	b.start("a", 3*time.Second).Release()
	if b.assess("a") != (Assessment{Takes: true}) {
		t.Error("a client that leaves early says nothing of the upstream")
	}
	a := b.start("a", 3*time.Second)
	b.clock.advance(3 * time.Second)
	a.Release()
	if r, _ := b.Report("a"); r.InARow != 2 || r.Kind != Stalled {
		t.Errorf("report %+v", r)
	}
	stream := b.start("b", 3*time.Second)
	b.clock.advance(2 * time.Second)
	stream.Progress()
	b.clock.advance(stallTime)
	stream.Release()
	if r, _ := b.Report("b"); r.Kind != Stalled || !r.Failed {
		t.Errorf("a stalled stream: report %+v", r)
	}
}

// One failure costs an upstream two seconds, not all requests until it has faded.
func TestAHiccupIsForgiven(t *testing.T) {
	b := newFixture(Options{})
	b.fail("a", Reset, 2)
	b.fail("hung", Stalled, 1)
	b.clock.advance(trialAfter - 1)
	if b.assess("a").Penalty == 0 {
		t.Fatal("forgiven too soon")
	}
	b.clock.advance(1)
	if b.assess("a").Penalty != 0 || b.assess("hung").Penalty == 0 {
		t.Fatalf("penalties %v and, after a hang, %v", b.assess("a").Penalty, b.assess("hung").Penalty)
	}
	trial := b.start("a", 0)
	if b.assess("a").Penalty == 0 {
		t.Fatal("a second trial beside the first")
	}
	trial.Succeed()
	if a := b.assess("a"); a.Penalty != 0 || a.FailureShare != 0 {
		t.Errorf("after a successful trial: %+v", a)
	}
	b.fail("a", Reset, 1)
	if b.assess("a").Penalty == 0 {
		t.Error("a new failure costs nothing")
	}
}

func TestTheCostOfFailuresFades(t *testing.T) {
	b := newFixture(Options{})
	b.start("a", 0).Succeed()
	b.start("a", 0) // it has requests: no trial is due
	before := time.Duration(0)
	for i := range 2 {
		b.fail("a", Status, 1)
		if got := b.assess("a").Penalty; got <= before {
			t.Fatalf("after %d failures the penalty is %v", i+1, got)
		} else {
			before = got
		}
	}
	b.clock.advance(shareHalfLife)
	if got := b.assess("a").Penalty; got >= before/2 {
		t.Errorf("penalty %v after the half-life, %v before", got, before)
	}
	b.clock.advance(20 * shareHalfLife)
	b.assess("a")
	if !b.Quiet() {
		t.Error("old failures still count")
	}
}

func TestRefusals(t *testing.T) {
	b := newFixture(Options{})
	for range doubtAfter - 1 {
		if b.start("a", 0).Refused() {
			t.Fatal("two refusals are no reason for doubt")
		}
	}
	last := b.start("a", 0)
	if !last.Refused() {
		t.Fatal("an upstream that does nothing but refuse is not doubted")
	}
	b.wantState(t, "a", Ready, true)
	last.Confirmed()
	if b.start("a", 0).Refused() {
		t.Fatal("doubted although another upstream has refused too")
	}
	last.Contradicted()
	b.wantState(t, "a", Out, false)
	b.clock.advance(2 * time.Second)
	b.start("a", 0).Refused() // the probe is refused too
	b.wantState(t, "a", Out, false)
	b.clock.advance(4 * time.Second)
	b.start("a", 0).Succeed()
	b.wantState(t, "a", Returning, true)

	b.fail("b", Reset, 3)
	b.clock.advance(2 * time.Second)
	b.start("b", 0).Refused() // it answers: a bad request is no fault of it
	b.wantState(t, "b", Returning, true)
}

func TestOff(t *testing.T) {
	b := newFixture(Options{Off: true})
	b.fail("a", Dial, 50)
	b.start("a", 0).Fail(Limited, time.Minute)
	b.wantState(t, "a", Ready, true)
	if b.assess("a").Penalty == 0 {
		t.Error("failures cost nothing")
	}
	if len(b.log.lines) != 0 {
		t.Errorf("log %q", b.log.lines)
	}
}

func TestMemoryIsBounded(t *testing.T) {
	b := newFixture(Options{})
	for i := range maxUpstreams + 10 {
		b.fail(fmt.Sprint(i), Dial, 3)
	}
	if n := len(b.Ejected()); n != maxUpstreams {
		t.Errorf("%d upstreams are remembered", n)
	}
	b.wantState(t, fmt.Sprint(maxUpstreams+9), Ready, true)
	b.wantState(t, "0", Out, false)
}

func TestSweepAndForget(t *testing.T) {
	b := newFixture(Options{})
	open := b.start("open", 0)
	b.fail("old", Dial, 3)
	b.fail("gone", Dial, 3)
	b.Forget("gone")
	b.wantState(t, "gone", Ready, true)
	b.clock.advance(upstreamTTL + 1)
	b.Sweep()
	if got := b.Ejected(); len(got) != 1 {
		t.Errorf("remembered: %v, want the one with an attempt under way", got)
	}
	open.Succeed()
	if !b.Quiet() {
		t.Error("forgotten failures still count")
	}
}

// Failures are forgotten at once, also while requests are under way; these still end
// as they should.
func TestForgetWhileRequestsAreUnderWay(t *testing.T) {
	b := newFixture(Options{})
	open := b.start("a", 0)
	b.fail("a", Dial, 3)
	b.Forget("a")
	b.wantState(t, "a", Ready, true)
	if r, _ := b.Report("a"); r.InFlight != 1 || r.Failed {
		t.Errorf("report %+v", r)
	}
	open.Succeed()
	if r, _ := b.Report("a"); r.InFlight != 0 || !b.Quiet() {
		t.Errorf("report %+v", r)
	}
}

// TestRandomOutcomes runs random attempts and checks after each what must always
// hold.
func TestRandomOutcomes(t *testing.T) {
	seeds := 200
	if testing.Short() {
		seeds = 20
	}
	for seed := range uint64(seeds) {
		testRandomOutcomes(t, rand.New(rand.NewPCG(seed, 13)))
	}
}

func testRandomOutcomes(t *testing.T, random *rand.Rand) {
	b := newFixture(Options{Failures: 1 + random.IntN(4)})
	names := []string{"a", "b", "c", "d", "healthy"}
	open := make(map[string][]*Attempt)
	for range 500 {
		b.clock.advance(time.Duration(random.ExpFloat64() * float64(time.Second)))
		name := names[random.IntN(len(names))]
		if len(open[name]) == 0 || random.IntN(2) == 0 {
			open[name] = append(open[name], b.start(name, time.Duration(random.IntN(5))*time.Second))
		} else {
			i := random.IntN(len(open[name]))
			endAtRandom(open[name][i], name == "healthy", random)
			open[name] = slices.Delete(open[name], i, i+1)
		}
		validate(t, b, names, open)
	}
}

func endAtRandom(a *Attempt, healthy bool, random *rand.Rand) {
	if healthy {
		a.Succeed()
		return
	}
	switch random.IntN(5) {
	case 0:
		a.Succeed()
	case 1:
		a.Release()
	case 2:
		a.Refused()
	default:
		a.Fail(Kind(random.IntN(int(kinds))), time.Duration(random.IntN(3))*time.Second)
	}
}

func validate(t *testing.T, b *fixture, names []string, open map[string][]*Attempt) {
	t.Helper()
	out := make([]Assessment, len(names))
	quiet := b.Quiet()
	b.Assess(names, out)
	for i, name := range names {
		a := out[i]
		if quiet && a != (Assessment{Takes: true}) {
			t.Fatalf("quiet, but %s is %+v", name, a)
		}
		if name == "healthy" && a.State != Ready {
			t.Fatalf("an upstream that never fails is %s", a.State)
		}
		if a.Penalty < 0 || a.FailureShare < 0 || a.FailureShare > 1 {
			t.Fatalf("%s: %+v", name, a)
		}
		if r, ok := b.Report(name); ok && (r.InFlight != len(open[name]) || r.Left > DefaultMax) {
			t.Fatalf("%s: %d attempts are under way: report %+v", name, len(open[name]), r)
		}
	}
	for n := 1; n <= len(out); n++ {
		pool := slices.Clone(out[:n])
		Admit(pool, b.o)
		if !slices.ContainsFunc(pool, func(a Assessment) bool { return a.Takes }) {
			t.Fatalf("no upstream takes the request: %+v", pool)
		}
	}
}
