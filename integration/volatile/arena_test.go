// SPDX-License-Identifier: Apache-2.0

//go:build linux && !race

package volatile

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/klauspost/compress/zstd"

	"github.com/bauxite/caddy-kvaware/integration/harness"
	"github.com/bauxite/caddy-kvaware/internal/sensitive"
	"github.com/bauxite/caddy-kvaware/internal/sim/enginesim"
)

// everyPurpose lists the purposes of sensitive memory, but for bodies.
var everyPurpose = []string{
	"answer", "compressed data", "decoded names", "decoded text", "decompressed answer", "findings", "folded text",
	"joined parts", "rendition", "rest of a refused body", "scanned text", "texts of tokens", "vault",
}

// TestWipedBuffersHoldNothing sends traffic of every kind through a real Caddy and then
// looks at every byte of every buffer of sensitive memory there has been, including
// those that were outgrown or released. All are zero but those of bodies without a
// finding: the engine's connection may still be reading these. No buffer holds a
// value that was found.
func TestWipedBuffersHoldNothing(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	runtime.GC()
	runtime.GC() // empties the pools, whose buffers are not tracked
	watch := sensitive.Track()
	defer watch.Stop()
	engines := harness.StartPublishingEngines(t, 2, enginesim.Config{Speed: 50, CacheBlocks: 4000, Responder: enginesim.Echo, ChunkSizes: []int{3, 1, 7}})
	g := harness.StartGateway(t, "caddyfile", arenaSites(engines))
	arenaTraffic(t, g, engines)
	if err := caddy.Stop(); err != nil { // waits for open requests
		t.Fatal(err)
	}
	left := leftInBuffers(watch)
	for deadline := time.Now().Add(time.Minute); len(left) > 0 && time.Now().Before(deadline); left = leftInBuffers(watch) {
		time.Sleep(50 * time.Millisecond) // the goroutines of connections end after their answers
	}
	for _, what := range left {
		t.Error(what)
	}
	count, size := make(map[string]int), 0
	for _, a := range watch.Buffers() {
		count[a.Purpose]++
		size += len(a.Bytes)
	}
	for _, of := range append(everyPurpose, "body") {
		if count[of] == 0 {
			t.Errorf("no buffer was for %q: this proves nothing about it", of)
		}
		delete(count, of)
	}
	for of := range count {
		t.Errorf("the test does not know the purpose %q", of)
	}
	t.Logf("%d buffers, %.1f MB", len(watch.Buffers()), mb(int64(size)))
}

// leftInBuffers describes the content that is left, once for each purpose and value.
func leftInBuffers(watch *sensitive.Tracker) (left []string) {
	for _, a := range watch.Buffers() {
		if a.Purpose != "body" {
			if bytes.Trim(a.Bytes, "\x00") != nil {
				left = append(left, fmt.Sprintf("the buffer for %q was not wiped", a.Purpose))
			}
		}
		for kind, value := range harness.Planted {
			if bytes.Contains(a.Bytes, []byte(value)) {
				left = append(left, fmt.Sprintf("the buffer for %q has the %s", a.Purpose, kind))
			}
		}
	}
	slices.Sort(left)
	return slices.Compact(left)
}

// arenaSites returns a site with everything that copies prompts: events and
// tokenization, keyed placeholders, block mode, engines that compress, handlers that
// panic, and bodies that are too large.
func arenaSites(engines []*enginesim.Engine) string {
	return fmt.Sprintf(`{
	order test_panic before reverse_proxy
}
:8080 {
	handle_path /keyed/* {
		pii_janitor {
			placeholder keyed
		}
		reverse_proxy %[1]s {
			transport http {
				compression off
			}
		}
	}
	handle_path /block/* {
		pii_janitor {
			mode block
		}
		reverse_proxy %[1]s
	}
	handle_path /panic/* {
		pii_janitor
		test_panic
	}
	handle_path /small/* {
		pii_janitor {
			max_size 20KB
		}
		reverse_proxy %[1]s
	}
	handle {
		%[2]s
	}
}`, harness.Addresses(engines), harness.PolicyRoute(engines, harness.EventsOption(engines[0], 1)))
}

// arenaTraffic sends requests of every kind.
func arenaTraffic(t *testing.T, g *harness.Gateway, engines []*enginesim.Engine) {
	t.Helper()
	status := make(map[int]int)
	bodies := harness.PlantedBodies()
	delete(bodies, "model") // a model's name and bare numbers are not scanned: docs/scrubbing.md
	delete(bodies, "number")
	mail := harness.Planted["e-mail"]
	name, host, _ := strings.Cut(mail, "@")
	bodies["folded"] = harness.Chat("Ask "+name+"\uff20"+host, false)
	bodies["parts"] = `{"model":"sim","messages":[{"role":"user","content":[{"type":"text","text":"Ask ` + name + `"},{"type":"text","text":"@` + host + `"}]}]}`
	bodies["escaped names"] = `{"m\u006fdel":"sim","messages":[{"r\u006fle":"user","content":"\u0041sk ` + mail + ` ` + strings.Repeat(`\n`, 3000) + `"}]}`
	for path, kinds := range map[string]map[string]string{
		"/v1/chat/completions": bodies, "/v1/completions": bodies, "/v1/messages": bodies, "/v1/embeddings": bodies, "/anything": bodies,
		"/keyed/v1/chat/completions": bodies, "/block/v1/chat/completions": bodies,
		"/small/v1/chat/completions": {"large": harness.Chat(strings.Repeat("x ", 15_000)+harness.PlantedText(), false)},
	} {
		for _, body := range kinds {
			status[g.Post(t, path, body).Status]++
			status[g.Post(t, path, zip(t, body), "Content-Encoding", "gzip").Status]++
			status[g.Post(t, path, zstandard(t, body), "Content-Encoding", "zstd").Status]++
		}
	}
	// Long conversations, so that the gateway fetches and links their tokens.
	rnd := rand.New(rand.NewPCG(5, 5))
	for range 4 {
		var c harness.Conversation
		c.Begin(harness.PlantedText())
		for range 3 {
			p := g.Predict(t, "/v1/chat/completions", c.Say(harness.Words(rnd, 4000)+mail))
			if !strings.Contains(p.Answer, mail) {
				t.Fatalf("not restored: %.200s", p.Answer)
			}
			c.Answered(p.Answer)
		}
	}
	harness.AwaitQuiet(t, engines)
	// Clients that leave in the middle of an upload or of a stream, and a panic.
	for i := range 20 {
		leaveUploading(t, g, harness.Chat(harness.PlantedText()+strings.Repeat("x ", 40_000), false), 1000+i*3000)
		leaveStreaming(t, g, harness.Chat(strings.Repeat(harness.PlantedText(), 20), true))
		if resp, err := g.Client.Post(g.URL+"/panic/v1/chat/completions", "application/json", strings.NewReader(bodies["chat"])); err == nil {
			resp.Body.Close()
			t.Fatalf("status %d where a handler panics", resp.StatusCode)
		}
	}
	// Engines that compress, fail and break off.
	for _, e := range engines {
		if err := e.Fault(enginesim.Fault{Kind: enginesim.Gzip, Count: 2}, enginesim.Fault{Kind: enginesim.Status, Status: 500, Skip: 10, Count: 10},
			enginesim.Fault{Kind: enginesim.Reset, Skip: 20, Count: 10}, enginesim.Fault{Kind: enginesim.Cut, Chunks: 1, Skip: 30, Count: 10}); err != nil {
			t.Fatal(err)
		}
	}
	for range 6 {
		if answer := g.Post(t, "/keyed/v1/chat/completions", bodies["chat"]); !strings.Contains(answer.Body, mail) {
			t.Fatalf("not restored: status %d, %.200q", answer.Status, answer.Body)
		}
	}
	harness.SendAll(g, bodies)
	harness.SendAll(g, bodies)
	for _, want := range []int{200, 400, 413, 422} {
		if status[want] == 0 {
			t.Errorf("no request was answered with %d: %v", want, status)
		}
	}
}

func zip(t *testing.T, body string) string {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := io.WriteString(z, body); err != nil || z.Close() != nil {
		t.Fatal(err)
	}
	return b.String()
}

func zstandard(t *testing.T, body string) string {
	t.Helper()
	z, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	return string(z.EncodeAll([]byte(body), nil))
}

// leaveUploading breaks off after so many bytes of a body.
func leaveUploading(t *testing.T, g *harness.Gateway, body string, after int) {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(g.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", len(body), body[:after])
	time.Sleep(5 * time.Millisecond) // time to read the bytes before the connection ends
}

// leaveStreaming breaks off after the beginning of a stream.
func leaveStreaming(t *testing.T, g *harness.Gateway, body string) {
	t.Helper()
	resp, err := g.Client.Post(g.URL+"/v1/chat/completions", "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if n, err := io.ReadFull(resp.Body, make([]byte, 400)); resp.StatusCode != http.StatusOK || n < 400 {
		t.Errorf("the stream begins with status %d and %d bytes, %v", resp.StatusCode, n, err)
	}
	resp.Body.Close()
}

// panicking is a handler that reads the request and panics.
type panicking struct{}

func (panicking) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.test_panic", New: func() caddy.Module { return new(panicking) }}
}

func (panicking) ServeHTTP(_ http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
	io.Copy(io.Discard, r.Body)
	panic(http.ErrAbortHandler)
}

func init() {
	caddy.RegisterModule(panicking{})
	httpcaddyfile.RegisterHandlerDirective("test_panic", func(httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
		return panicking{}, nil
	})
}

// Proves that the test above can fail: without the wiping it finds every purpose and
// every value.
func TestUnwipedBuffersAreFound(t *testing.T) {
	if testing.Short() {
		t.Skip("builds these tests anew")
	}
	source, err := filepath.Abs(harness.Root + "/internal/sensitive/buffer.go")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(source)
	if err != nil {
		t.Fatal(err)
	}
	const wipe = "func Wipe(b []byte) { clear(b[:cap(b)]) }"
	if !strings.Contains(string(text), wipe) {
		t.Fatal("the wiping has moved: this test cannot take it out")
	}
	dir := t.TempDir()
	unwiping, overlay := filepath.Join(dir, "buffer.go"), filepath.Join(dir, "overlay.json")
	for path, content := range map[string]string{
		unwiping: strings.Replace(string(text), wipe, "func Wipe(b []byte) {}", 1),
		overlay:  fmt.Sprintf(`{"Replace":{%q:%q}}`, source, unwiping),
	} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("go", "test", "-vet=off", "-overlay", overlay, "-run", "^TestWipedBuffersHoldNothing$", ".")
	cmd.Env = harness.GoEnv()
	out, err := cmd.CombinedOutput()
	if err == nil {
		t.Fatalf("nothing was found\n%s", out)
	}
	for _, of := range everyPurpose {
		if !strings.Contains(string(out), fmt.Sprintf("the buffer for %q was not wiped", of)) {
			t.Errorf("nothing was found in buffers for %q", of)
		}
	}
	for kind := range harness.Planted {
		if !strings.Contains(string(out), fmt.Sprintf("has the %s\n", kind)) {
			t.Errorf("the %s was found nowhere", kind)
		}
	}
	if t.Failed() {
		t.Logf("%s", out)
	}
}

// Interface guards
var _ caddyhttp.MiddlewareHandler = panicking{}
