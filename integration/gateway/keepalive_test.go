// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/bauxite/caddy-kvaware/integration/harness"
	"github.com/bauxite/caddy-kvaware/internal/sim/enginesim"
)

const keepAliveProxy = `:8080 {
	pii_janitor
	reverse_proxy %s {
		lb_policy kv_aware {
			keepalive 1s
		}
		lb_retries 2
		lb_retry_match ` + "`{rp.status_code} == 503`" + `
	}
}`

// commented is a streamed answer whose first comment has come.
type commented struct {
	*http.Response
	in *bufio.Reader
}

// untilComment sends a streamed chat request and waits for the first comment.
func untilComment(t *testing.T, g *harness.Gateway, text string) commented {
	t.Helper()
	resp, err := g.Client.Post(g.URL+harness.ChatPath, "application/json", strings.NewReader(harness.Chat(text, true)))
	if err != nil {
		t.Fatal(err)
	}
	c := commented{resp, bufio.NewReader(resp.Body)}
	line, err := c.in.ReadString('\n')
	if err != nil || !strings.HasPrefix(line, ":") || resp.StatusCode != http.StatusOK || !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/event-stream") {
		t.Fatalf("status %d, headers %v, %q, %v", resp.StatusCode, resp.Header, line, err)
	}
	return c
}

// rest returns the answer behind the comments.
func (c commented) rest() (string, error) {
	defer c.Body.Close()
	raw, err := io.ReadAll(c.in)
	return strings.TrimLeft(strings.ReplaceAll(string(raw), ": keepalive\n\n", ""), "\n"), err
}

func heal(t *testing.T, engines []*enginesim.Engine) {
	t.Helper()
	for _, e := range engines {
		if err := e.Heal(); err != nil {
			t.Fatal(err)
		}
	}
}

// fail adds faults to each engine.
func fail(t *testing.T, engines []*enginesim.Engine, faults ...enginesim.Fault) {
	t.Helper()
	for _, e := range engines {
		if err := e.Fault(faults...); err != nil {
			t.Fatal(err)
		}
	}
}

// startKeepAlive starts engines that echo, and a gateway with keepalive.
func startKeepAlive(t *testing.T, n int) (*harness.Gateway, []*enginesim.Engine) {
	t.Helper()
	if testing.Short() {
		t.Skip("a comment comes after a second")
	}
	engines := harness.StartEngines(t, n, enginesim.Config{Speed: 50, Responder: enginesim.Echo})
	return harness.StartGateway(t, "caddyfile", fmt.Sprintf(keepAliveProxy, harness.Addresses(engines))), engines
}

// A client gets comments while the engine is silent, before its header and behind
// it, and then the answer.
func TestKeepAliveWhileEngineIsSilent(t *testing.T) {
	g, engines := startKeepAlive(t, 1)
	for name, fault := range map[string]enginesim.FaultKind{"before the header": enginesim.Hang, "behind the header": enginesim.Stall} {
		fail(t, engines, enginesim.Fault{Kind: fault})
		question := "write to " + harness.SecretMail
		c := untilComment(t, g, question)
		heal(t, engines)
		answer, err := c.rest()
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got := harness.AnswerText(t, answer, true); got != question {
			t.Errorf("%s: answered %q", name, got)
		}
	}
}

// Retries go on behind the first comment.
func TestKeepAliveThenRetry(t *testing.T) {
	g, engines := startKeepAlive(t, 2)
	fail(t, engines[:1], enginesim.Fault{Kind: enginesim.Hang}, // of equal engines the first is picked
		enginesim.Fault{Kind: enginesim.Status, Status: http.StatusServiceUnavailable})
	question := "write to " + harness.SecretMail
	c := untilComment(t, g, question)
	if engines[1].Stats().Requests != 0 {
		t.Fatal("the first attempt went to the second engine")
	}
	heal(t, engines)
	answer, err := c.rest()
	if err != nil {
		t.Error(err)
	}
	if got := harness.AnswerText(t, answer, true); got != question || engines[1].Stats().Requests != 1 {
		t.Errorf("answered %q, the second engine got %d requests", got, engines[1].Stats().Requests)
	}
}

// A failure behind the first comment becomes the API's error event.
func TestKeepAliveThenFailure(t *testing.T) {
	for name, c := range map[string]struct {
		fault   enginesim.Fault
		message string
	}{
		"an engine's error": {enginesim.Fault{Kind: enginesim.Status, Status: http.StatusBadRequest}, "the simulated engine was told to fail"},
		"a broken attempt":  {enginesim.Fault{Kind: enginesim.Reset}, "no engine could answer (status 502)"},
	} {
		g, engines := startKeepAlive(t, 1)
		fail(t, engines, enginesim.Fault{Kind: enginesim.Hang}, c.fault)
		waiting := untilComment(t, g, "hello")
		heal(t, engines)
		got, err := waiting.rest()
		if want := `data: {"error":{"message":"` + c.message + `"`; !strings.HasPrefix(got, want) || !strings.HasSuffix(got, "}\n\n") {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
		if err == nil {
			t.Errorf("%s: the connection ended as if the answer were whole", name)
		}
		if answer := g.Post(t, harness.ChatPath, harness.Chat("hello", false)); answer.Status != http.StatusOK {
			t.Errorf("%s: the next request: status %d", name, answer.Status)
		}
	}
}

// A client that leaves while it waits takes its request with it.
func TestKeepAliveClientLeaves(t *testing.T) {
	g, engines := startKeepAlive(t, 1)
	fail(t, engines, enginesim.Fault{Kind: enginesim.Stall})
	untilComment(t, g, "hello").Body.Close()
	harness.Await(t, "the engine's request to end", func() bool {
		s := engines[0].Stats()
		return s.Served+s.Cancelled == 1
	})
	heal(t, engines)
	if answer := g.Post(t, harness.ChatPath, harness.Chat("hello", true)); answer.Status != http.StatusOK {
		t.Errorf("the next request: status %d", answer.Status)
	}
}
