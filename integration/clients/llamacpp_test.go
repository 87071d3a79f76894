// SPDX-License-Identifier: Apache-2.0

package clients

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/bauxite/caddy-kvaware/integration/counterparts"
	"github.com/bauxite/caddy-kvaware/integration/harness"
)

// With llama.cpp behind the gateway the SDKs get text, streams, cached tokens and
// embeddings, in every API that it has, and objects by a schema where it keeps to one.
func (s *sdks) testLlamaCPP(t *testing.T) {
	servers := counterparts.StartLlamaCPP(t, 2)
	g := harness.StartGateway(t, "caddyfile", fmt.Sprintf(site, "", counterparts.LlamaCPPAddresses(servers), ""))
	rnd := rand.New(rand.NewPCG(7, 7))
	s.each(t, "text", func(t *testing.T, client string) {
		ask := counterparts.Text(rnd, 200)
		s.must(t, client, "text", g.URL, ask)
		if o := s.must(t, client, "text", g.URL, ask); o.Result.Text == "" || o.Result.Cached < 190 {
			t.Errorf("the SDK has %+v", o.Result)
		}
	})
	s.each(t, "stream", func(t *testing.T, client string) {
		if client == "ai responses" {
			return // llama.cpp's response.created lacks members that this SDK insists on
		}
		if o := s.must(t, client, "stream", g.URL, counterparts.Text(rnd, 20)); o.Result.Text == "" || o.Result.Pieces < 10 {
			t.Errorf("the SDK has %+v", o.Result)
		}
	})
	s.each(t, "object", func(t *testing.T, client string) {
		if !strings.HasSuffix(client, " chat") {
			return // llama.cpp does not read the schema in the other APIs
		}
		if o := s.must(t, client, "object", g.URL, counterparts.Text(rnd, 20)); !strings.HasPrefix(fmt.Sprint(o.Result.Object), "map[city:") {
			t.Errorf("the SDK has parsed %v", o.Result.Object)
		}
	})
	s.each(t, "embed", func(t *testing.T, client string) {
		o := s.must(t, client, "embed", g.URL, counterparts.Text(rnd, 20))
		if v := o.Result.Vectors; len(v) != 2 || len(v[0]) != len(v[1]) || slices.Equal(v[0], v[1]) {
			t.Errorf("the SDK has %d vectors", len(v))
		}
	})
}
