// SPDX-License-Identifier: Apache-2.0

package kvaware

import (
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

func TestModelPaths(t *testing.T) {
	for _, c := range []struct {
		method, path string
		lists        bool
		model        string
	}{
		{"GET", "/v1/models", true, ""},
		{"GET", "/v1/models/", true, ""},
		{"GET", "/models", true, ""},
		{"GET", "/llm/v1/models", true, ""},
		{"HEAD", "/v1/models", false, ""},
		{"POST", "/v1/models", false, ""},
		{"GET", "/v1/supermodels", false, ""},
		{"GET", "/v1/models/m", false, "m"},
		{"HEAD", "/v1/models/m", false, "m"},
		{"DELETE", "/v1/models/m", false, ""},
		{"GET", "/v1/models/meta-llama/Llama-3", false, "meta-llama/Llama-3"},
		{"GET", "/v1/models//models/llama", false, "/models/llama"},
		{"GET", "/models/m", false, "m"},
		{"GET", "/v1/chat/completions", false, ""},
	} {
		r := httptest.NewRequest(c.method, c.path, nil)
		if listsModels(r) != c.lists || !c.lists && modelOfPath(r) != c.model {
			t.Errorf("%s %s: lists %v, model %q", c.method, c.path, listsModels(r), modelOfPath(r))
		}
	}
	if r := httptest.NewRequest("GET", "/v1/models", strings.NewReader("{}")); listsModels(r) {
		t.Error("a request with a body would lose it")
	}
}

// A request about one model goes to an upstream that lists it, as long as one can
// take it.
func TestOneModelIsAskedForWhereItIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newListingPolicy(modelLists{"a:1": listing("m"), "b:1": listing("m", "adapter"), "c:1": "nothing"})
		defer p.shared.Destruct()
		pool := reverseproxy.UpstreamPool{{Dial: "a:1"}, {Dial: "b:1"}, {Dial: "c:1"}}
		p.refreshUpstreams(pool, httptest.NewRequest("GET", "/", nil))
		synctest.Wait()
		for _, c := range []struct{ path, down, tried, want string }{
			{"/v1/models/adapter", "", "", "b:1"},
			{"/v1/models/m", "", "", "a:1 b:1"},
			{"/v1/models/unheard-of", "", "", "a:1 b:1 c:1"},
			{"/v1/models/adapter", "b:1", "", "a:1 b:1 c:1"},
			{"/v1/models/adapter", "", "b:1", "a:1 b:1 c:1"},
			{"/v1/models", "", "", "a:1 b:1 c:1"},
			{"/v1/responses/adapter", "", "", "a:1 b:1 c:1"},
		} {
			p.available = func(u *reverseproxy.Upstream) bool { return u.Dial != c.down }
			r := httptest.NewRequest("GET", c.path, nil)
			var got []string
			for _, u := range p.forModelsPath(pool, strings.Fields(c.tried), r.WithContext(contextWith(r, caddy.NewReplacer()))) {
				got = append(got, u.Dial)
			}
			if strings.Join(got, " ") != c.want {
				t.Errorf("%+v: %q", c, got)
			}
		}
	})
}
