// SPDX-License-Identifier: Apache-2.0

package kvaware

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"go.uber.org/zap"

	"github.com/bauxite/caddy-kvaware/internal/staging"
	"github.com/bauxite/caddy-kvaware/janitor"
)

// BenchmarkSelect64 measures a decision between 64 upstreams for a prompt of
// 32k tokens that one of them holds, behind a janitor, with all that Select
// does but for making the signature, which is done once a request.
func BenchmarkSelect64(b *testing.B) {
	ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
	defer cancel()
	h := new(janitor.Handler)
	if err := h.Provision(ctx); err != nil {
		b.Fatal(err)
	}
	p := &Policy{
		BlockSize: DefaultBlockSize, Metrics: "off", logger: zap.NewNop(),
		shared: newShared(DefaultMemoryLimit, time.Now), stager: staging.Nop,
	}
	p.subscribe()
	p.available = func(*reverseproxy.Upstream) bool { return true }
	pool := make(reverseproxy.UpstreamPool, 64)
	for i := range pool {
		pool[i] = &reverseproxy.Upstream{Host: new(reverseproxy.Host), Dial: fmt.Sprintf("node-%d:8000", i)}
	}
	rnd := rand.New(rand.NewPCG(64, 32768))
	var text strings.Builder
	for text.Len() < 32768*4 {
		fmt.Fprintf(&text, "word%x ", rnd.Uint32()&0xffff)
	}
	body, err := json.Marshal(map[string]any{"model": "m", "messages": []any{map[string]string{"role": "user", "content": text.String()}}})
	if err != nil {
		b.Fatal(err)
	}
	r := httptest.NewRequest(http.MethodPost, "/v1/chat/completions", strings.NewReader(string(body)))
	r = r.WithContext(context.WithValue(contextWith(r, caddy.NewReplacer()), caddyhttp.VarsCtxKey, map[string]any{}))
	next := caddyhttp.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
		first := p.Select(pool, r, w)
		state, ok := caddyhttp.GetVar(r.Context(), stateVar).(*requestState)
		if !ok || !state.signed() {
			b.Fatal("the prompt was not signed")
		}
		state.request.Confirm()
		b.ReportAllocs()
		for b.Loop() {
			state.request.End()
			state.address, state.tries.Attempt = "", nil // as if it were another request with this prompt
			if p.Select(pool, r, w) != first {
				b.Fatal("the holder was not picked")
			}
		}
		w.WriteHeader(http.StatusOK)
		return nil
	})
	if err := h.ServeHTTP(httptest.NewRecorder(), r, next); err != nil {
		b.Fatal(err)
	}
}
