// SPDX-License-Identifier: Apache-2.0

//go:build real

package real

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"

	"github.com/bauxite/caddy-kvaware/integration/harness"
)

// warnings streams answers to clients that do not ask for usage. The engine reports
// cached tokens, so it is not to blame.
func (s *suite) warnings(t *testing.T) {
	const accused, cure = "the engine does not report cached tokens", "usage inject"
	body := chat("tiny", words(rand.New(rand.NewPCG(14, 14)), 300), "stream", true)
	stream := func(g *harness.Gateway) {
		t.Helper()
		for range 12 {
			if a := g.Post(t, harness.ChatPath, body); a.Status != http.StatusOK || strings.Contains(a.Body, "cached_tokens") {
				t.Fatalf("status %d: %.400s", a.Status, a.Body)
			}
			settle(t)
		}
	}
	g := gateway(t, []*engine{s.wide})
	ask(t, g, harness.ChatPath, chat("tiny", "Hello.")) // a whole answer, with the count
	harness.Log.Reset()
	stream(g)
	if log := harness.Log.String(); strings.Contains(log, accused) || strings.Contains(log, cure) {
		t.Errorf("a warning of an engine that has reported cached tokens: %s", log)
	}
	// The same engine under a name that is new to the gateway.
	byName := strings.ReplaceAll(site([]*engine{s.wide}), s.wide.address(), fmt.Sprint("localhost:", s.wide.port))
	stream(harness.StartGateway(t, "caddyfile", byName))
	if log := harness.Log.String(); strings.Contains(log, accused) || strings.Count(log, cure) != 1 {
		t.Errorf("want one warning that names `%s`: %s", cure, log)
	}
	s.seen("streams without `include_usage`", "no warning of an engine that has reported cached tokens in other answers; else one that names the cure")
}
