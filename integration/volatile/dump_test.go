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

// canary returns a value that the janitor scrubs, another for each i.
func canary(i int) string {
	return fmt.Sprintf("%s.%06d@mail-of-nobody.com", canaryMark, 271828+i*7919)
}

// briefEcho answers with the beginning of the prompt.
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

// stock is the config of a Caddy that only proxies.
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

// TestMemoryHoldsNoMoreThanStockCaddys sends prompts with canaries through the
// gateway and through a stock Caddy without our modules, closes all connections, runs
// the collector and searches the whole memory of both processes. No module can wipe
// the buffers of the proxy itself, but the gateway must keep no more than they do.
// (Our binary with the config of a proxy is shown beside them.)
//
// The number that is left depends on which buffers were used again. If the gateway
// has more, two further rounds tell chance from a leak.
func TestMemoryHoldsNoMoreThanStockCaddys(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
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

// stockIsStock checks that our modules are in our binary and not in the stock one.
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
		t.Fatalf("%s: not even a request in flight is found in memory: the search proves nothing", name)
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

// converse sends every canary in a prompt of its own, many at a time, in sizes from
// one packet to many. Half of the answers are streams, and each has the canary.
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

// holdOne searches the memory in the middle of an upload with a canary, which the
// search must find.
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

// occurrences counts canaries after several rounds of the collector, which empty the
// pools, and time for goroutines to end.
func occurrences(t *testing.T, p *process) (n int) {
	t.Helper()
	for range 5 {
		p.adminGet(t, "/debug/pprof/heap?gc=1")
		time.Sleep(200 * time.Millisecond)
	}
	return search(t, p.pid)
}

// search counts the canaries in all writable memory of a process.
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

// searchRange reads in pieces that overlap by less than a canary's mark.
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
			break // unmapped, or unreadable such as guard pages
		}
	}
	return n, read
}
