// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

const (
	one = `{"data":[{"id":"m"}]}`
	two = `{"data":[{"id":"m"},{"id":"adapter"}]}`
)

// long returns a list of more than fewModels models.
func long(also string) string {
	var b strings.Builder
	for i := range fewModels {
		fmt.Fprintf(&b, `{"id":"n%d"},`, i)
	}
	return `{"data":[` + b.String() + `{"id":"m"}` + also + `]}`
}

// A model that comes or goes is known within three seconds at an engine in use,
// whether its metrics can be read or not.
func TestModelsAreKnownSoon(t *testing.T) {
	for name, page := range map[string]string{"with metrics": says(1, 1, 0, 0), "without": "<html>"} {
		t.Run(name, func(t *testing.T) {
			watching(t, map[string]*fakeEngine{"a:1": {metrics: page, models: one}}, func(w *Watcher, net *fakeEngines, s *recorder) {
				pass(w, 2*time.Minute, target("a:1"))
				for i := range 20 {
					pass(w, time.Duration(i)*137*time.Millisecond, target("a:1"))
					net.set("a:1", func(e *fakeEngine) { e.models = two })
					pass(w, 3*time.Second, target("a:1"))
					if lacks(w, "a:1", "adapter") {
						t.Fatal("a model that came is not known")
					}
					net.set("a:1", func(e *fakeEngine) { e.models = one })
					pass(w, 3*time.Second, target("a:1"))
					if !lacks(w, "a:1", "adapter") {
						t.Fatal("a model that went still counts")
					}
				}
			})
		})
	}
}

// What is known of an engine that got no requests for a while is read anew when
// it gets one.
func TestReadAnewAfterAQuietTime(t *testing.T) {
	watching(t, map[string]*fakeEngine{"a:1": {metrics: says(1, 1, 0, 0), models: one}}, func(w *Watcher, net *fakeEngines, s *recorder) {
		w.Watch(target("a:1"))
		pass(w, 35*time.Second)
		before := net.count("a:1/metrics")
		net.set("a:1", func(e *fakeEngine) { e.models = two })
		w.Watch(target("a:1"))
		pass(w, 2*time.Second)
		if net.count("a:1/metrics") == before || lacks(w, "a:1", "adapter") {
			t.Fatal("it was not read anew")
		}
	})
}

// A long list is read seldom, soon on demand, and never in a hurry.
func TestRelistIsBounded(t *testing.T) {
	watching(t, map[string]*fakeEngine{"a:1": {metrics: says(1, 1, 0, 0), models: long("")}}, func(w *Watcher, net *fakeEngines, s *recorder) {
		pass(w, time.Minute, target("a:1"))
		if n := net.count("a:1" + modelsPath); n > 4 {
			t.Fatalf("a long list was read %d times in a minute", n)
		}
		net.set("a:1", func(e *fakeEngine) { e.models = long(`,{"id":"adapter"}`) })
		w.Relist("a:1", "b:1")
		pass(w, 3*time.Second, target("a:1"))
		if lacks(w, "a:1", "adapter") {
			t.Fatal("a model that came is not known")
		}
		before := net.count("a:1" + modelsPath)
		for range 1000 {
			w.Watch(target("a:1"))
			w.Relist("a:1")
			time.Sleep(10 * time.Millisecond) // virtual
		}
		if n := net.count("a:1"+modelsPath) - before; n < 4 || n > 6 {
			t.Fatalf("asked %d times in 10 s", n)
		}
	})
}

// An engine without a readable list is not asked for it more often on demand.
func TestRelistWithoutAList(t *testing.T) {
	watching(t, map[string]*fakeEngine{"a:1": {metrics: says(1, 1, 0, 0), models: "nothing"}}, func(w *Watcher, net *fakeEngines, s *recorder) {
		for range 600 {
			w.Watch(target("a:1"))
			w.Relist("a:1")
			time.Sleep(time.Second) // virtual
		}
		synctest.Wait()
		if n := net.count("a:1" + modelsPath); n > 8 {
			t.Fatalf("asked %d times in ten minutes", n)
		}
	})
}
