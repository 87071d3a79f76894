// SPDX-License-Identifier: Apache-2.0

package tokenize

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bauxite/caddy-kvaware/internal/prompt"
)

// fakeEngines stands for all engines: it counts the requests to each, and gives prepared
// answers a second later.
type fakeEngines struct {
	mu      sync.Mutex
	fail    map[string]error
	asked   []string // bodies
	times   []time.Duration
	begin   time.Time
	running map[string]int
	most    int // of one upstream at a time
	mostAll int
	all     int
}

func newEngines() *fakeEngines {
	return &fakeEngines{fail: make(map[string]error), running: make(map[string]int), begin: time.Now()}
}

func (e *fakeEngines) fetch(ctx context.Context, upstream string, _ prompt.API, body []byte) (*Tokens, error) {
	e.mu.Lock()
	e.asked, e.times = append(e.asked, string(body)), append(e.times, time.Since(e.begin))
	e.running[upstream]++
	e.all++
	e.most, e.mostAll = max(e.most, e.running[upstream]), max(e.mostAll, e.all)
	err := e.fail[upstream]
	e.mu.Unlock()
	select {
	case <-time.After(time.Second):
	case <-ctx.Done():
		err = ErrUnreachable
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.running[upstream]--
	e.all--
	if err != nil {
		return nil, err
	}
	return &Tokens{IDs: []uint32{7}, BeforeMedia: 1}, nil
}

func (e *fakeEngines) set(upstream string, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.fail[upstream] = err
}

// results counts the results of jobs.
type results struct {
	mu     sync.Mutex
	counts map[error]int
	kept   []uint32
}

func (o *results) done(t *Tokens, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.counts == nil {
		o.counts = make(map[error]int)
	}
	if (t == nil) == (err == nil) {
		panic("tokens and an error, or neither")
	}
	o.counts[err]++
	if t != nil {
		o.kept = t.IDs
	}
}

func (o *results) want(t *testing.T, want map[error]int) {
	t.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	total := 0
	for err, n := range want {
		total += n
		if o.counts[err] != n {
			t.Errorf("%d jobs ended with %v, want %d", o.counts[err], err, n)
		}
	}
	got := 0
	for _, n := range o.counts {
		got += n
	}
	if got != total {
		t.Errorf("%d jobs ended, want %d: %v", got, total, o.counts)
	}
}

// half is a random source that leaves pauses as they are.
func half() float64 { return 0.5 }

// A prompt that waits for an engine that fails does not keep others from its tokens.
func TestAFailingEngineHoldsNoPromptBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, dead, alive := newEngines(), new(results), new(results)
		q := newQueue(e.fetch, half)
		defer q.Close()
		e.set("dead:1", ErrUnreachable)
		add := func(upstream string, key uint64, o *results) bool {
			return q.Add(Job{Upstream: upstream, Key: key, Body: []byte(upstream), Done: o.done})
		}
		for key := range uint64(4) { // two are asked at once, two wait
			add("dead:1", key, dead)
		}
		if add("alive:1", 0, alive) || add("alive:1", 3, alive) {
			t.Error("nothing has failed yet: a second job was accepted")
		}
		time.Sleep(1100 * time.Millisecond) // virtual
		if add("dead:1", 3, dead) {
			t.Error("a second job for the same engine was accepted")
		}
		if !add("alive:1", 3, alive) || add("alive:1", 3, alive) {
			t.Error("the job was not accepted, or twice")
		}
		time.Sleep(time.Second)
		synctest.Wait()
		alive.want(t, map[error]int{nil: 1})
		dead.want(t, map[error]int{ErrUnreachable: 2, ErrDropped: 1})
	})
}

// Every job is done once, in order, two at a time; equal ones once.
func TestQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, o := newEngines(), new(results)
		q := newQueue(e.fetch, half)
		for i := range 10 {
			j := Job{Upstream: "a:1", Key: uint64(i), Body: []byte{byte('0' + i)}, Done: o.done}
			if !q.Add(j) || q.Add(j) {
				t.Errorf("job %d was not accepted, or twice", i)
			}
		}
		synctest.Wait()
		if s := q.States(); len(s) != 1 || s[0].Upstream != "a:1" || s[0].Waiting != 8 || s[0].Running != 2 {
			t.Errorf("states %+v", s)
		}
		time.Sleep(6 * time.Second)
		synctest.Wait()
		o.want(t, map[error]int{nil: 10})
		slices.Sort(e.asked[:2]) // those began together
		if got := fmt.Sprint(e.asked[:2]); e.most != 2 || got != "[0 1]" || len(e.asked) != 10 {
			t.Errorf("%d at a time, asked %v", e.most, e.asked)
		}
		if o.kept[0] != 0 {
			t.Error("the tokens were not wiped")
		}
		if s := q.States(); s[0].Fetched != 10 || s[0].Waiting+s[0].Running != 0 || s[0].LastError != nil {
			t.Errorf("states %+v", s)
		}
		if !q.Add(Job{Upstream: "a:1", Key: 3, Done: o.done}) {
			t.Error("a key stays taken")
		}
		q.Close()
		o.want(t, map[error]int{nil: 10, ErrClosed: 1})
	})
}

// A failing engine is asked less and less often, one job at a time, and has recovered
// with the first success.
func TestQueueBackOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, o := newEngines(), new(results)
		e.set("a:1", ErrBusy)
		q := newQueue(e.fetch, half)
		defer q.Close()
		add := func(n int) {
			for range n {
				q.Add(Job{Upstream: "a:1", Key: rand.Uint64(), Done: o.done})
			}
		}
		for range 100 {
			add(3) // there is always one that has not waited too long
			time.Sleep(2 * time.Second)
		}
		synctest.Wait()
		// Two at the beginning, then each after a pause behind the answer, which
		// takes a second.
		var want []time.Duration
		for _, seconds := range []float64{0, 0, 1.5, 4.5, 9.5, 18.5, 35.5, 68.5, 129.5, 190.5} {
			want = append(want, time.Duration(seconds*float64(time.Second)))
		}
		if !slices.Equal(e.times, want) {
			t.Errorf("attempts at %v, want %v", e.times, want)
		}
		times := len(e.times)
		if !q.Failing("a:1") || q.Failing("b:1") {
			t.Error("Failing reports the wrong upstream")
		}
		if s := q.States()[0]; s.LastError != ErrBusy || s.Failed != uint64(times) || s.Dropped == 0 {
			t.Errorf("state %+v", s)
		}
		e.set("a:1", nil)
		time.Sleep(2 * lastPause)
		add(1)
		time.Sleep(10 * time.Second)
		add(6)
		time.Sleep(4 * time.Second)
		synctest.Wait()
		if s := q.States()[0]; s.LastError != nil || s.Waiting+s.Running != 0 || s.Fetched < 7 || q.Failing("a:1") {
			t.Errorf("state %+v", s)
		}
	})
}

// A job that waits for a paused engine is dropped when it has waited too long, though
// nothing else happens.
func TestQueueDropsJobsThatWaitTooLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, o := newEngines(), new(results)
		e.set("a:1", ErrBusy)
		q := newQueue(e.fetch, half)
		defer q.Close()
		for i := range 9 { // until it is left alone for a minute each time
			time.Sleep(2 * lastPause)
			q.Add(Job{Upstream: "a:1", Key: uint64(i), Done: func(*Tokens, error) {}})
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		asked := len(e.asked)
		for i := range 3 {
			if !q.Add(Job{Upstream: "a:1", Key: uint64(10 + i), Done: o.done}) {
				t.Fatal("not accepted")
			}
			time.Sleep(10 * time.Second)
		}
		time.Sleep(maxWait - 10*time.Second)
		synctest.Wait()
		if len(e.asked) != asked {
			t.Fatal("the engine was asked meanwhile: the test proves nothing")
		}
		o.want(t, map[error]int{ErrDropped: 3})
		if s, known := q.State("a:1"); !known || s.Waiting != 0 || len(q.keys) != 0 {
			t.Errorf("%d wait, %d keys", s.Waiting, len(q.keys))
		}
		if _, known := q.State("b:1"); known {
			t.Error("an upstream that was never named")
		}
	})
}

// An unsupported request does not keep others waiting.
func TestQueueHarmlessFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, err := range []error{ErrUnsupported, ErrUnavailable, ErrDeclined, ErrTooLarge} {
			e, o := newEngines(), new(results)
			e.set("a:1", err)
			q := newQueue(e.fetch, half)
			for i := range 10 {
				q.Add(Job{Upstream: "a:1", Key: uint64(i), Done: o.done})
			}
			time.Sleep(5*time.Second + 1)
			synctest.Wait()
			o.want(t, map[error]int{err: 10})
			q.Close()
		}
	})
}

// The oldest jobs make room for the newest, those that waited too long are dropped, and
// all engines together are asked a few things at a time.
func TestQueueBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, o := newEngines(), new(results)
		q := newQueue(e.fetch, half)
		for i := range 100 {
			q.Add(Job{Upstream: "a:1", Key: uint64(i), Body: []byte{byte(i)}, Done: o.done})
		}
		o.want(t, map[error]int{ErrDropped: 100 - maxRunning - maxWaiting})
		time.Sleep(maxWait)
		synctest.Wait()
		if last := e.asked[len(e.asked)-1]; last[0] < 40 {
			t.Errorf("number %d was not dropped", last[0])
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		s := q.States()[0]
		if s.Waiting+s.Running != 0 || s.Fetched+s.Dropped != 100 || s.Fetched > 64 {
			t.Errorf("state %+v", s)
		}
		for i := range 50 {
			for k := range 3 {
				q.Add(Job{Upstream: fmt.Sprint(i), Key: uint64(1000 + 3*i + k), Done: o.done})
			}
		}
		time.Sleep(20 * time.Second)
		synctest.Wait()
		if e.mostAll != maxRunningTotal || e.most != maxRunning {
			t.Errorf("%d at a time, %d of one upstream", e.mostAll, e.most)
		}
		fetched := uint64(0)
		for _, s := range q.States() {
			fetched += s.Fetched
		}
		if fetched != s.Fetched+150 {
			t.Errorf("%d fetched", fetched-s.Fetched)
		}
		for i := range 2 * maxUpstreams {
			q.Add(Job{Upstream: fmt.Sprint("x", i), Key: uint64(i), Done: o.done})
		}
		if n := len(q.States()); n != maxUpstreams {
			t.Errorf("%d upstreams are known", n)
		}
		q.Close()
		if len(q.keys) != 0 {
			t.Errorf("%d keys are left", len(q.keys))
		}
	})
}

// Forget and Close end every job, and leave nothing running.
func TestQueueEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, o := newEngines(), new(results)
		e.set("b:1", ErrUnreachable)
		q := newQueue(e.fetch, half)
		add := func(upstream string, n int) {
			for range n {
				q.Add(Job{Upstream: upstream, Key: rand.Uint64(), Done: o.done})
			}
		}
		add("a:1", 5)
		add("b:1", 5)
		time.Sleep(1100 * time.Millisecond) // b:1 is paused, a:1 in the second round
		q.Forget("a:1")
		q.Forget("b:1")
		q.Forget("c:1")
		o.want(t, map[error]int{nil: 2, ErrUnreachable: 2, ErrDropped: 4})
		if len(q.States()) != 0 {
			t.Error("upstreams are still known")
		}
		add("b:1", 4)
		synctest.Wait()
		q.Close()
		o.want(t, map[error]int{nil: 2, ErrUnreachable: 2, ErrDropped: 4, ErrClosed: 6})
		if q.Add(Job{Upstream: "a:1", Done: o.done}) {
			t.Error("a closed queue accepts jobs")
		}
		q.Close()
	})
}

// Whatever happens, each accepted job ends once, and nothing is left.
func TestQueueRandom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, o := newEngines(), new(results)
		q := newQueue(e.fetch, nil)
		rnd := rand.New(rand.NewPCG(5, 6))
		told := make([]int, 3000)
		taken := make([]bool, len(told))
		var mu sync.Mutex
		for i := range told {
			upstream := fmt.Sprint(rnd.IntN(12))
			taken[i] = q.Add(Job{Upstream: upstream, Key: rnd.Uint64N(300), Done: func(tokens *Tokens, err error) {
				mu.Lock()
				told[i]++
				mu.Unlock()
				o.done(tokens, err)
			}})
			switch rnd.IntN(20) {
			case 0:
				e.set(upstream, []error{nil, nil, ErrBusy, ErrDeclined}[rnd.IntN(4)])
			case 1:
				q.Forget(fmt.Sprint(rnd.IntN(12)))
			case 2:
				time.Sleep(time.Duration(rnd.IntN(8000)) * time.Millisecond)
			}
		}
		q.Close()
		for i, n := range told {
			if n == 1 != taken[i] || n > 1 {
				t.Errorf("job %d: accepted %t, ended %d times", i, taken[i], n)
			}
		}
		if len(q.keys) != 0 || q.running != 0 || e.all != 0 {
			t.Errorf("%d keys, %d running", len(q.keys), q.running)
		}
	})
}
