// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// fakeEngines is an http.RoundTripper that answers for engines by address.
type fakeEngines struct {
	mu      sync.Mutex
	engines map[string]*fakeEngine
	asked   []string // address and path, in order
	atOnce  int
	most    int
	hold    time.Duration // before each answer
}

type fakeEngine struct {
	metrics string
	models  string
	err     error // instead of any answer
	status  int   // instead of 200
}

func (f *fakeEngines) RoundTrip(r *http.Request) (*http.Response, error) {
	f.mu.Lock()
	f.asked = append(f.asked, r.URL.Host+r.URL.Path)
	f.atOnce++
	f.most = max(f.most, f.atOnce)
	e := *f.engines[r.URL.Host]
	hold := f.hold
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		f.atOnce--
		f.mu.Unlock()
	}()
	if hold > 0 {
		select {
		case <-time.After(hold):
		case <-r.Context().Done():
			return nil, r.Context().Err()
		}
	}
	if e.err != nil {
		return nil, e.err
	}
	answer := &http.Response{StatusCode: e.status, Body: io.NopCloser(strings.NewReader(""))}
	if e.status != 0 {
		return answer, nil
	}
	answer.StatusCode = http.StatusOK
	switch r.URL.Path {
	case "/metrics":
		answer.Body = io.NopCloser(strings.NewReader(e.metrics))
	case modelsPath:
		answer.Body = io.NopCloser(strings.NewReader(e.models))
	default:
		answer.StatusCode = http.StatusNotFound
	}
	return answer, nil
}

func (f *fakeEngines) set(address string, change func(*fakeEngine)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(f.engines[address])
}

func (f *fakeEngines) count(what string) (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, a := range f.asked {
		if a == what {
			n++
		}
	}
	return n
}

var errRefusedByPeer = &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}

// recorder is an Observer that writes its calls down as text.
type recorder struct {
	mu     sync.Mutex
	events []string
	lists  int // read
	told   map[string]Reading
}

func (s *recorder) add(event string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events = append(s.events, event)
}

func (s *recorder) Reported(t Target, r Reading) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.told[t.Address] = r
}
func (s *recorder) LoadExpired(t Target)  { s.add("silent " + t.Address) }
func (s *recorder) Restarted(t Target)    { s.add("restarted " + t.Address) }
func (s *recorder) CacheCleared(t Target) { s.add("cleared " + t.Address) }
func (s *recorder) ModelsRead(t Target, list Models, asked time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lists++
}
func (s *recorder) ModelsChanged(t Target, before, now Models) { s.add("relisted " + t.Address) }

func (s *recorder) take() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	events := s.events
	s.events = nil
	return events
}

// says returns a vLLM page of metrics.
func says(started, prompt float64, running, waiting int) string {
	return fmt.Sprintf("process_start_time_seconds %v\nvllm:prompt_tokens_total %v\nvllm:num_requests_running %d\nvllm:num_requests_waiting %d\n"+
		`vllm:cache_config_info{block_size="16",num_gpu_blocks="100"} 1`+"\n", started, prompt, running, waiting)
}

// watching runs a test of a Watcher of fake engines, in virtual time.
func watching(t *testing.T, engines map[string]*fakeEngine, test func(w *Watcher, net *fakeEngines, s *recorder)) {
	synctest.Test(t, func(t *testing.T) {
		net := &fakeEngines{engines: engines}
		s := &recorder{told: make(map[string]Reading)}
		w := NewWatcher(Options{Transport: net, Observer: s, Random: func() float64 { return 0.5 }})
		defer w.Close()
		test(w, net, s)
	})
}

// lacks reports whether an engine is known not to list a model.
func lacks(w *Watcher, address, model string) bool {
	has, known := w.Models().Has(address, model)
	return known && !has
}

func target(address string) Target { return Target{Address: address, Path: "/metrics"} }

// pass lets virtual time pass and names engines all the while.
func pass(w *Watcher, d time.Duration, inUse ...Target) {
	for ; d > 0; d -= time.Second {
		w.Watch(inUse...)
		time.Sleep(min(d, time.Second)) // virtual
	}
	synctest.Wait()
}

func TestWatchReads(t *testing.T) {
	watching(t, map[string]*fakeEngine{
		"a:1": {metrics: says(100, 5, 2, 3), models: `{"data":[{"id":"m"}]}`},
	}, func(w *Watcher, net *fakeEngines, s *recorder) {
		w.Watch(target("a:1"))
		synctest.Wait()
		if r := s.told["a:1"]; !r.HasLoad || r.Running != 2 || r.Waiting != 3 || r.Capacity != 1600 {
			t.Fatalf("told %+v", r)
		}
		states := w.States("a:1")
		if len(states) != 1 || states[0].Failure != nil || states[0].Down || !slices.Equal(states[0].Models, modelsNamed("m")) || !states[0].ReadAt.Equal(time.Now()) {
			t.Fatalf("states %+v", states)
		}
		if !lacks(w, "a:1", "x") || lacks(w, "a:1", "m") {
			t.Fatal("its models are not known")
		}
		pass(w, 20*time.Second, target("a:1"))
		if n := net.count("a:1/metrics"); n < 9 || n > 11 {
			t.Fatalf("read %d times in 20 s", n)
		}
		if n := net.count("a:1" + modelsPath); n < 9 || n > 11 || s.lists != n {
			t.Fatalf("models read %d times in 20 s, %d told", n, s.lists)
		}
		if events := s.take(); len(events) != 0 {
			t.Fatalf("events %q", events)
		}
	})
}

// An engine that gets no requests is polled less often, then not at all. When it
// is back, the earlier readings of its process still count.
func TestWatchLetsIdleEnginesBe(t *testing.T) {
	watching(t, map[string]*fakeEngine{
		"a:1": {metrics: says(100, 5, 0, 0), models: `{"data":[{"id":"m"}]}`},
	}, func(w *Watcher, net *fakeEngines, s *recorder) {
		w.Watch(target("a:1"))
		pass(w, 2*time.Minute)
		n := net.count("a:1/metrics")
		if n < 8 || n > 15 {
			t.Fatalf("read %d times", n)
		}
		if lacks(w, "a:1", "x") {
			t.Fatal("an old list of models still counts")
		}
		if events := s.take(); !slices.Equal(events, []string{"silent a:1"}) {
			t.Fatalf("events %q", events)
		}
		pass(w, time.Hour)
		if net.count("a:1/metrics") != n {
			t.Fatal("an idle engine is still read")
		}
		net.set("a:1", func(e *fakeEngine) { e.metrics = says(5000, 50, 0, 0) })
		w.Watch(target("a:1"))
		synctest.Wait()
		if events := s.take(); !slices.Equal(events, []string{"restarted a:1"}) {
			t.Fatalf("after its return: events %q", events)
		}
		if !lacks(w, "a:1", "x") {
			t.Fatal("after its return its models are not known")
		}
	})
}

func TestWatchRefused(t *testing.T) {
	for _, c := range []struct {
		name          string
		before, after fakeEngine
		want          []string
	}{
		{"another process", fakeEngine{metrics: says(100, 5, 0, 0)}, fakeEngine{metrics: says(200, 50, 0, 0)}, []string{"silent a:1", "restarted a:1"}},
		{"the same process", fakeEngine{metrics: says(100, 5, 0, 0)}, fakeEngine{metrics: says(100, 5, 0, 0)}, []string{"silent a:1"}},
		{"no starts told", fakeEngine{metrics: llamaPage}, fakeEngine{metrics: llamaPage}, []string{"silent a:1", "restarted a:1"}},
		{"no metrics", fakeEngine{status: 501}, fakeEngine{status: 501}, []string{"restarted a:1"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			watching(t, map[string]*fakeEngine{"a:1": &c.before}, func(w *Watcher, net *fakeEngines, s *recorder) {
				w.Watch(target("a:1"))
				pass(w, 5*time.Second, target("a:1"))
				net.set("a:1", func(e *fakeEngine) { *e = fakeEngine{err: errRefusedByPeer} })
				w.Suspect("a:1")
				pass(w, 10*time.Second, target("a:1"))
				if st := w.States("a:1"); !st[0].Down || !errors.Is(st[0].Failure, ErrRefused) {
					t.Fatalf("states %+v", st)
				}
				asked := len(net.asked)
				if asked > 12 {
					t.Fatalf("asked %d times", asked)
				}
				net.set("a:1", func(e *fakeEngine) { *e = c.after })
				w.Answered("a:1")
				synctest.Wait()
				if got := s.take(); !slices.Equal(got, c.want) || w.States("a:1")[0].Down {
					t.Fatalf("events %q, want %q", got, c.want)
				}
				asked = len(net.asked)
				w.Answered("a:1") // it is not down: no poll
				synctest.Wait()
				if len(net.asked) != asked {
					t.Fatal("looked at again for an answer")
				}
			})
		})
	}
}

// A missing answer means nothing: the load counts for a while, and the process
// is taken for the same.
func TestWatchTimeouts(t *testing.T) {
	watching(t, map[string]*fakeEngine{"a:1": {metrics: says(100, 5, 1, 1)}}, func(w *Watcher, net *fakeEngines, s *recorder) {
		w.Watch(target("a:1"))
		pass(w, time.Second, target("a:1"))
		net.set("a:1", func(e *fakeEngine) { e.err = errors.New("secret of the network") })
		pass(w, 6*time.Second, target("a:1"))
		if events := s.take(); len(events) != 0 {
			t.Fatalf("events %q", events)
		}
		pass(w, 60*time.Second, target("a:1"))
		if events := s.take(); !slices.Equal(events, []string{"silent a:1"}) {
			t.Fatalf("events %q", events)
		}
		if n := net.count("a:1/metrics"); n > 10 {
			t.Fatalf("asked %d times in a minute of time-outs", n)
		}
		if st := w.States("")[0]; st.Failure != ErrUnreachable || st.Down {
			t.Fatalf("state %+v", st)
		}
		net.set("a:1", func(e *fakeEngine) { e.err = nil })
		pass(w, 40*time.Second, target("a:1"))
		if events := s.take(); len(events) != 0 {
			t.Fatalf("events %q", events)
		}
	})
}

// An engine without metrics is polled less and less, but its models are known.
func TestWatchEngineWithoutMetrics(t *testing.T) {
	watching(t, map[string]*fakeEngine{"a:1": {metrics: "<html>", models: `{"data":[{"id":"m"}]}`}}, func(w *Watcher, net *fakeEngines, s *recorder) {
		pass(w, 30*time.Minute, target("a:1"))
		if n := net.count("a:1/metrics"); n < 6 || n > 12 {
			t.Fatalf("asked %d times in half an hour", n)
		}
		if !lacks(w, "a:1", "x") {
			t.Fatal("its models are not known")
		}
		if events := s.take(); len(events) != 0 || len(s.told) != 0 {
			t.Fatalf("events %q, told %v", events, s.told)
		}
	})
}

func TestWatchModelsThatCannotBeRead(t *testing.T) {
	watching(t, map[string]*fakeEngine{"a:1": {metrics: says(1, 1, 0, 0), models: `{"data":[{"id":"m"}]}`}}, func(w *Watcher, net *fakeEngines, s *recorder) {
		w.Watch(target("a:1"))
		synctest.Wait()
		if !lacks(w, "a:1", "x") {
			t.Fatal("its models are not known")
		}
		net.set("a:1", func(e *fakeEngine) { e.models = "nothing" })
		pass(w, time.Minute, target("a:1"))
		if lacks(w, "a:1", "x") {
			t.Fatal("a list that can no longer be read still counts")
		}
		net.set("a:1", func(e *fakeEngine) { e.metrics, e.models = says(900, 1, 0, 0), `{"data":[{"id":"n"}]}` })
		pass(w, 3*time.Second, target("a:1"))
		if !lacks(w, "a:1", "m") {
			t.Fatal("after a restart the models are not read at once")
		}
	})
}

// Only another list of models is reported: not the first one, not the same one
// again, not a list that could not be read.
func TestWatchRelisted(t *testing.T) {
	watching(t, map[string]*fakeEngine{"a:1": {metrics: says(1, 1, 0, 0), models: `{"data":[{"id":"m"}]}`}}, func(w *Watcher, net *fakeEngines, s *recorder) {
		for _, models := range []string{`{"data":[{"id":"m"}]}`, "nothing", `{"data":[{"id":"m"}]}`} {
			net.set("a:1", func(e *fakeEngine) { e.models = models })
			pass(w, 12*time.Minute, target("a:1"))
			if events := s.take(); len(events) != 0 {
				t.Fatalf("%s: %q", models, events)
			}
		}
		net.set("a:1", func(e *fakeEngine) { e.models = `{"data":[{"id":"m"},{"id":"adapter"}]}` })
		pass(w, 12*time.Minute, target("a:1"))
		if events := s.take(); !slices.Equal(events, []string{"relisted a:1"}) {
			t.Fatalf("events %q", events)
		}
	})
}

// However often it is called, Suspect has an engine polled twice a second at most.
func TestWatchSuspicionsAreBounded(t *testing.T) {
	watching(t, map[string]*fakeEngine{"a:1": {metrics: says(1, 1, 0, 0)}}, func(w *Watcher, net *fakeEngines, s *recorder) {
		w.Watch(target("a:1"))
		for range 1000 {
			w.Suspect("a:1")
			time.Sleep(10 * time.Millisecond) // virtual
		}
		if n := net.count("a:1/metrics"); n < 10 || n > 22 {
			t.Fatalf("asked %d times in 10 s", n)
		}
	})
}

func TestWatchForget(t *testing.T) {
	watching(t, map[string]*fakeEngine{"a:1": {err: errRefusedByPeer}}, func(w *Watcher, net *fakeEngines, s *recorder) {
		w.Watch(target("a:1"))
		synctest.Wait()
		w.Forget("a:1")
		if len(w.States("")) != 1 {
			t.Fatal("an engine in use was forgotten")
		}
		pass(w, 2*time.Minute)
		w.Forget("a:1")
		if len(w.States("")) != 0 || w.numDown.Load() != 0 {
			t.Fatal("an engine out of use was not forgotten")
		}
	})
}

// Over real connections a refusal is recognised, redirects are not followed, and
// an endless answer is cut off.
func TestFetchOverTheNetwork(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/metrics", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, vllmPage) })
	mux.HandleFunc("/moved", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/metrics", http.StatusFound) })
	mux.HandleFunc("/endless", func(w http.ResponseWriter, r *http.Request) { io.Copy(w, new(endlessLines)) })
	mux.HandleFunc("/packed", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		io.WriteString(w, vllmPage)
	})
	server := &http.Server{Handler: mux}
	go server.Serve(listener)
	transport := NewTransport()
	defer transport.CloseIdleConnections()
	address := listener.Addr().String()
	for path, want := range map[string]error{
		"/metrics": nil, "/moved": ErrStatus, "/nowhere": ErrStatus, "/endless": ErrTooLarge, "/packed": nil,
	} {
		r, err := fetchMetrics(t.Context(), transport, address, path)
		if path == "/endless" && err == errTruncated {
			err = ErrTooLarge // on a busy machine the timeout cuts it off first
		}
		if !errors.Is(err, want) || (err == nil) != (r.Engine == VLLM) {
			t.Errorf("%s: %+v, %v, want %v", path, r, err, want)
		}
	}
	if _, err := fetchModels(t.Context(), transport, address); !errors.Is(err, ErrStatus) {
		t.Errorf("models: %v", err)
	}
	server.Close()
	if _, err := fetchMetrics(t.Context(), transport, address, "/metrics"); !errors.Is(err, ErrRefused) {
		t.Errorf("nothing listens: %v", err)
	}
}
