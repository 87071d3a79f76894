// SPDX-License-Identifier: Apache-2.0

package kvaware

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http/httptest"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/bauxite/caddy-kvaware/internal/engine/kvevents"
)

// tinyAs returns a list as vLLM writes it for a model under these names, and for an
// adapter of it if there is one.
func tinyAs(root, adapter string, names ...string) string {
	list := ""
	for _, name := range names {
		list += fmt.Sprintf(`,{"id":%q,"owned_by":"vllm","root":%q,"parent":null,"max_model_len":8192}`, name, root)
	}
	if adapter != "" {
		list += fmt.Sprintf(`,{"id":%q,"owned_by":"vllm","root":"/lora","parent":%q,"max_model_len":null}`, adapter, names[0])
	}
	return `{"data":[` + list[1:] + `]}`
}

// What a name stands for is decided for each upstream by its own list, whatever the
// order of the upstreams.
func TestLineageAtEachUpstream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lists := modelLists{
			"a:1": tinyAs("/model", "", "tiny"),
			"b:1": tinyAs("/model", "sql", "tiny", "small"),
			"c:1": tinyAs("/model", "", "small"),
			"d:1": tinyAs("/other", "", "small", "tiny"),
			"e:1": listing("small", "sql"),
			"f:1": "nothing",
		}
		p := newListingPolicy(lists)
		defer p.shared.upstreams.Close()
		r := httptest.NewRequest("POST", "/", nil)
		addresses := slices.Sorted(maps.Keys(lists))
		var pool reverseproxy.UpstreamPool
		for _, at := range addresses {
			pool = append(pool, &reverseproxy.Upstream{Host: new(reverseproxy.Host), Dial: at})
		}
		before := p.lineagesOf("small", pool, r)
		if before.known != nil || before.usual != (lineage{"small", ""}) {
			t.Errorf("before any list is known: %+v", before)
		}
		p.refreshUpstreams(pool, r)
		synctest.Wait()
		// Engines that list no parents name their adapters in events.
		p.shared.router.Index().Feed("e:1").Apply(&kvevents.Event{Kind: kvevents.Stored, Root: true, LoRA: []byte("sql"),
			Hashes: []uint64{1}, Tokens: make([]uint32, 16), BlockSize: 16})
		for name, want := range map[string]string{
			"tiny":  "a tiny/; b tiny/; c tiny/; d small/; e tiny/; f tiny/; ",
			"small": "a small/; b tiny/; c small/; d small/; e small/; f small/; ",
			"sql":   "a sql/sql; b sql/sql; c sql/sql; d sql/sql; e sql/sql; f sql/sql; ",
			"other": "a other/; b other/; c other/; d other/; e other/; f other/; ",
		} {
			for range 5 {
				l := p.lineagesOf(name, pool, r)
				got := ""
				for _, at := range addresses {
					lineage := l.at(at)
					got += fmt.Sprint(at[:1], " ", lineage.model, "/", lineage.adapter, "; ")
				}
				if got != want {
					t.Errorf("%s: %s, want %s", name, got, want)
				}
				rand.Shuffle(len(pool), func(i, j int) { pool[i], pool[j] = pool[j], pool[i] })
			}
		}
		pool = pool[:0]
		pool = append(pool, &reverseproxy.Upstream{Host: new(reverseproxy.Host), Dial: "b:1"})
		for name, want := range map[string]string{"tiny": "tiny /model  ", "small": "tiny /model tiny ", "sql": "tiny /model  tiny", "other": "other other  "} {
			l := p.lineagesOf(name, pool, r)
			alias, parent := l.shown("b:1")
			if got := fmt.Sprintf("%s %s %s %s", l.base.Lineage, l.storedAs(), alias, parent); got != want {
				t.Errorf("%s: %q, want %q", name, got, want)
			}
		}
	})
}
