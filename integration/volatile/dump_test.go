// SPDX-License-Identifier: Apache-2.0

//go:build linux && !race

package volatile

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bauxite/caddy-kvaware/integration/harness"
	"github.com/bauxite/caddy-kvaware/internal/sim/enginesim"
)

const (
	canaries = 900
	// canaryMark is in every canary and in nothing else.
	canaryMark = "canary-of-the-dump-test"
)

// canary is a value that the janitor takes out of prompts. Each is different.
func canary(i int) string {
	return fmt.Sprintf("%s.%06d@mail-of-nobody.com", canaryMark, 271828+i*7919)
}

// briefEcho answers with what the prompt begins with.
func briefEcho(r enginesim.Request) enginesim.Reply {
	return enginesim.Reply{Text: r.LastUser[:min(len(r.LastUser), 100)]}
}

const guarded = `{
	admin ADMIN
	persist_config off
	auto_https off
	storage_check off
	storage_clean_interval off
}
http://GATEWAY {
	pii_janitor
	reverse_proxy ENGINES {
		lb_policy kv_aware
	}
}`

// stock is a Caddy that only proxies.
const stock = `{
	admin ADMIN
	persist_config off
	auto_https off
	storage_check off
	storage_clean_interval off
}
http://GATEWAY {
	reverse_proxy ENGINES {
		lb_policy least_conn
	}
}`

// TestMemoryHoldsNoMoreThanStockCaddys sends prompts full of canaries through
// the gateway and through a stock Caddy, a binary without a module of ours that
// only proxies, lets all connections go and the collector run, and searches
// both processes' whole memory. What a proxy's own buffers keep no module of it
// can wipe; what the gateway knows beyond that, such as what it took out, must
// be gone. (Our binary, told to only proxy, is shown beside them.)
//
// What is left is a matter of chance: which buffers were used again. Should
// the gateway have more, two more rounds tell chance from a leak.
func TestMemoryHoldsNoMoreThanStockCaddys(t *testing.T) {
	stockIsStock(t)
	gateway, proxy := 0, 0
	for round := 1; round <= 3; round++ {
		ours, theirs := leftovers(t, "gateway", theBinary, guarded), leftovers(t, "stock Caddy", stockBinary, stock)
		idle := leftovers(t, "gateway's binary as a proxy", theBinary, stock)
		t.Logf("canaries left in the memory of the process, of %d: gateway %d, stock Caddy %d, the gateway's binary as a proxy %d", canaries, ours, theirs, idle)
		gateway, proxy = gateway+ours, proxy+theirs
		if gateway <= proxy || gateway > canaries/2 {
			break
		}
	}
	if gateway > proxy {
		t.Error("the gateway keeps more than a proxy")
	}
}

// stockIsStock makes sure that none of our modules is in the stock binary, and
// that they are in ours.
func stockIsStock(t *testing.T) {
	t.Helper()
	for _, c := range []struct {
		built func() (string, error)
		ours  bool
	}{{stockBinary, false}, {theBinary, true}} {
		binary, err := c.built()
		if err != nil {
			t.Fatal(err)
		}
		modules, err := exec.Command(binary, "list-modules").Output()
		if err != nil || !bytes.Contains(modules, []byte("http.handlers.reverse_proxy\n")) {
			t.Fatalf("the modules of %s: %v", binary, err)
		}
		for _, name := range []string{"pii_janitor", "kv_aware"} {
			if bytes.Contains(modules, []byte(name)) != c.ours {
				t.Fatalf("%s has %s: %t", binary, name, !c.ours)
			}
		}
	}
}

// leftovers runs a binary with a config, has it proxy all canaries, and counts
// those that are in its memory afterwards.
func leftovers(t *testing.T, name string, built func() (string, error), config string) int {
	t.Helper()
	engines := harness.StartEngines(t, 2, enginesim.Config{Speed: 200, Responder: briefEcho, CacheBlocks: 1 << 16, PrefillRate: 1e6})
	p := launchBinary(t, built, strings.Replace(config, "ENGINES", harness.Addresses(engines), 1), nil)
	if n := holdOne(t, p, name); n == 0 {
		t.Fatalf("%s: not even a request in flight is found in memory; the search proves nothing", name)
	}
	converse(t, p, name)
	p.Client.CloseIdleConnections()
	for _, e := range engines {
		e.Close()
	}
	n := occurrences(t, p)
	p.stop(t)
	return n
}

// converse sends every canary in a prompt of its own, many at a time, in sizes
// from one packet to many; half of the answers are streams, and each comes with
// the canary in it.
func converse(t *testing.T, p *process, name string) {
	t.Helper()
	var all sync.WaitGroup
	next := make(chan int)
	for range 16 {
		all.Go(func() {
			for i := range next {
				prompt := "Write to " + canary(i) + ". " + strings.Repeat("Say that all is well with the harvest. ", (i%300)*(i%300)/20)
				resp, err := p.Client.Post(p.URL+"/v1/chat/completions", "application/json", strings.NewReader(harness.Chat(prompt, i%2 == 0)))
				if err != nil {
					t.Error(err)
					return
				}
				body, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if err != nil || resp.StatusCode != http.StatusOK || i%2 == 1 && !strings.Contains(string(body), canary(i)) {
					t.Errorf("%s: status %d, %v, %.200s", name, resp.StatusCode, err, body)
				}
			}
		})
	}
	for i := range canaries {
		next <- i
	}
	close(next)
	all.Wait()
}

// holdOne looks at the memory in the middle of an upload that has a canary in
// it: there the search must find one.
func holdOne(t *testing.T, p *process, name string) int {
	t.Helper()
	r, w := io.Pipe()
	done := make(chan error, 1)
	go func() {
		resp, err := p.Client.Post(p.URL+"/v1/chat/completions", "application/json", r)
		if err == nil {
			_, err = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
		}
		done <- err
	}()
	body := harness.Chat("Ask "+canary(canaries), false)
	io.WriteString(w, body[:len(body)-2])
	n := 0
	for deadline := time.Now().Add(time.Minute); n == 0 && time.Now().Before(deadline); {
		n = search(t, p.pid)
	}
	io.WriteString(w, body[len(body)-2:])
	w.Close()
	if err := <-done; err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// occurrences counts canaries once nothing more happens in the process: each
// round runs the collector, twice to empty the pools, and leaves time to end.
func occurrences(t *testing.T, p *process) (n int) {
	t.Helper()
	for range 5 {
		p.adminGet(t, "/debug/pprof/heap?gc=1")
		time.Sleep(200 * time.Millisecond)
	}
	return search(t, p.pid)
}

// search counts the canaries in all memory of a process that can be written.
func search(t *testing.T, pid int) (n int) {
	t.Helper()
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		harness.Missing(t, "the process's memory cannot be read: %v", err)
	}
	memory, err := os.Open(fmt.Sprintf("/proc/%d/mem", pid))
	if err != nil {
		harness.Missing(t, "the process's memory cannot be read: %v", err)
	}
	defer memory.Close()
	read := 0
	for line := range strings.Lines(string(maps)) {
		var from, to int64
		var rights string
		if _, err := fmt.Sscanf(line, "%x-%x %s", &from, &to, &rights); err != nil || !strings.HasPrefix(rights, "rw") {
			continue
		}
		found, size := searchRange(memory, from, to)
		n, read = n+found, read+size
	}
	if read < 1<<20 {
		harness.Missing(t, "only %d bytes of the process's memory can be read", read)
	}
	return n
}

// searchRange reads in pieces that overlap by less than a canary.
func searchRange(memory io.ReaderAt, from, to int64) (n, read int) {
	const piece = 4 << 20
	overlap := int64(len(canaryMark) - 1)
	buffer := make([]byte, piece)
	for at := from; at < to; at += piece - overlap {
		b := buffer[:min(piece, to-at)]
		got, err := memory.ReadAt(b, at)
		n += bytes.Count(b[:got], []byte(canaryMark))
		read += got
		if err != nil || int64(len(b)) == to-at {
			break // gone, or never to be read, such as guard pages
		}
	}
	return n, read
}
