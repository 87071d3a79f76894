// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/bauxite/caddy-kvaware/integration/harness"
)

// listServer answers GET /v1/models as a script says, and remembers the requests.
type listServer struct {
	*httptest.Server
	mu       sync.Mutex
	received []*http.Request
}

// startLists starts one server for each answer: a body, or a status such as "503".
// "hang" does not answer.
func startLists(t *testing.T, start func(http.Handler) *httptest.Server, answers ...string) []*listServer {
	servers := make([]*listServer, len(answers))
	for i, answer := range answers {
		s := new(listServer)
		released := make(chan struct{})
		s.Server = start(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			s.mu.Lock()
			s.received = append(s.received, r)
			s.mu.Unlock()
			status := 0
			switch _, err := fmt.Sscanf(answer, "%d", &status); {
			case answer == "hang":
				select {
				case <-r.Context().Done():
				case <-released:
				}
			case err == nil:
				w.WriteHeader(status)
				io.WriteString(w, `{"error":"the engine's own"}`)
			default:
				w.Header().Set("Content-Type", "application/json; charset=utf-8")
				io.WriteString(w, answer)
			}
		}))
		t.Cleanup(s.Close)
		t.Cleanup(func() { close(released) })
		servers[i] = s
	}
	return servers
}

func (s *listServer) address() string { return s.Listener.Addr().String() }

// unionSite returns a site whose policy has the option. Metrics are off, so that
// the servers receive the requests of clients only.
func unionSite(servers []*listServer, option, more string) string {
	var all []string
	for _, s := range servers {
		all = append(all, s.address())
	}
	return fmt.Sprintf(":8080 {\n pii_janitor\n reverse_proxy %s {\n lb_policy kv_aware {\n metrics off\n fallback first\n %s\n }\n %s\n }\n}", strings.Join(all, " "), option, more)
}

const (
	entryA  = `{"id":"a","object":"model","owned_by": "one"}`
	entryA2 = `{"id":"a","object":"model","owned_by":"two"}`
	entryB  = `{"id":"b","object":"model","n":1.0}`
)

func listOf(entries ...string) string {
	return `{"object":"list","data":[` + strings.Join(entries, ",") + `]}`
}

func TestModelsUnion(t *testing.T) {
	for _, c := range []struct {
		name, option string
		answers      []string
		status       int
		want         string
	}{
		{"all", "models union", []string{listOf(entryA), listOf(entryA2, entryB)}, 200, listOf(entryA, entryB)},
		{"off", "models off", []string{listOf(entryA), listOf(entryB)}, 200, listOf(entryA)},
		{"default", "", []string{listOf(entryA), listOf(entryB)}, 200, listOf(entryA)},
		{"one fails", "models union", []string{"401", listOf(entryB), "500"}, 200, listOf(entryB)},
		{"one lists nonsense", "models union", []string{"<html>", listOf(entryB)}, 200, listOf(entryB)},
		{"one lists too much", "models union", []string{listOf(`{"id":"` + strings.Repeat("x", 2<<20) + `"}`), listOf(entryB)}, 200, listOf(entryB)},
		{"none answers with a list", "models union", []string{"401", "401"}, 401, `{"error":"the engine's own"}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			servers := startLists(t, func(h http.Handler) *httptest.Server { return httptest.NewServer(h) }, c.answers...)
			g := harness.StartGateway(t, "caddyfile", unionSite(servers, c.option, ""))
			answer := g.Get(t, "/v1/models")
			if answer.Status != c.status || answer.Body != c.want || c.status == 200 && !strings.HasPrefix(answer.Header.Get("Content-Type"), "application/json") {
				t.Errorf("status %d, %s: %.500s", answer.Status, answer.Header.Get("Content-Type"), answer.Body)
			}
		})
	}
}

// An upstream that hangs or refuses is left out.
func TestModelsUnionWithoutSome(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for the timeout of 2 s")
	}
	servers := startLists(t, func(h http.Handler) *httptest.Server { return httptest.NewServer(h) }, "hang", listOf(entryA), listOf(entryB))
	servers[2].Close()
	g := harness.StartGateway(t, "caddyfile", unionSite(servers, "models union", ""))
	if answer := g.Get(t, "/v1/models"); answer.Status != http.StatusOK || answer.Body != listOf(entryA) {
		t.Errorf("status %d: %.500s", answer.Status, answer.Body)
	}
}

// Engines get the client's own credentials and nothing of each other's, through the
// proxy's transport: here with TLS, and a server name that the config derives from
// the upstream.
func TestModelsUnionOverTLS(t *testing.T) {
	servers := startLists(t, func(h http.Handler) *httptest.Server { return httptest.NewTLSServer(h) }, listOf(entryA), listOf(entryB), listOf())
	g := harness.StartGateway(t, "caddyfile", unionSite(servers, "models union", `
		header_up Host {upstream_hostport}
		header_up X-Added yes
		transport http {
			tls_insecure_skip_verify
			tls_server_name {http.reverse_proxy.upstream.host}
		}`))
	r, err := http.NewRequest(http.MethodGet, g.URL+"/v1/models?limit=9", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer of-the-client")
	r.Header.Set("Accept-Encoding", "br")
	r.Header.Set("If-None-Match", `"x"`)
	for range 3 {
		if answer := g.Do(t, r); answer.Status != http.StatusOK || answer.Body != listOf(entryA, entryB) {
			t.Fatalf("status %d: %.500s", answer.Status, answer.Body)
		}
	}
	for i, s := range servers {
		s.mu.Lock()
		if len(s.received) != 3 {
			t.Fatalf("server %d got %d requests", i, len(s.received))
		}
		for _, got := range s.received {
			h := got.Header
			if h.Get("Authorization") != "Bearer of-the-client" || h.Get("X-Added") != "yes" || got.URL.RawQuery != "limit=9" {
				t.Errorf("server %d: %s %v", i, got.URL, h)
			}
			if h.Get("Accept-Encoding") == "br" || h.Get("If-None-Match") != "" {
				t.Errorf("server %d: %v", i, h)
			}
			if got.Host != s.address() {
				t.Errorf("server %d is called %s", i, got.Host)
			}
		}
		s.mu.Unlock()
	}
}

// Many clients at once get whole lists, and other requests pass.
func TestModelsUnionUnderLoad(t *testing.T) {
	servers := startLists(t, func(h http.Handler) *httptest.Server { return httptest.NewServer(h) }, listOf(entryA), listOf(entryB), listOf(entryA2))
	g := harness.StartGateway(t, "caddyfile", unionSite(servers, "models union", ""))
	var clients sync.WaitGroup
	for range 32 {
		clients.Go(func() {
			for range 8 {
				resp, err := g.Client.Get(g.URL + "/v1/models")
				if err != nil {
					t.Error(err)
					return
				}
				var list struct{ Data []struct{ ID string } }
				err = json.NewDecoder(resp.Body).Decode(&list)
				resp.Body.Close()
				if err != nil || len(list.Data) != 2 {
					t.Errorf("status %d, %v, %v", resp.StatusCode, list, err)
				}
			}
		})
	}
	clients.Wait()
	if answer := g.Post(t, "/v1/models", `{"x":"y"}`); answer.Status != http.StatusOK || answer.Body != listOf(entryA) {
		t.Errorf("a request with a body: status %d, %.300s", answer.Status, answer.Body)
	}
}

// A request about one model goes to an engine that lists it.
func TestOneModelThroughTheGateway(t *testing.T) {
	g, engines := startModels(t, 3, "")
	if failed, _ := askFor(t, g, "base", 4); failed > 0 { // has the lists read
		t.Fatalf("%d requests failed", failed)
	}
	engines[2].LoadAdapter("org/adapter")
	harness.Await(t, "all requests about the model go to the engine that lists it", func() bool {
		for range 12 { // by chance some go there before
			if g.Get(t, "/v1/models/org/adapter").Header.Get("X-Upstream") != engines[2].Addr() {
				return false
			}
		}
		return true
	})
}
