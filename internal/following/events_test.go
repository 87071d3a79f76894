// SPDX-License-Identifier: Apache-2.0

package following

import (
	"slices"
	"testing"

	"github.com/bauxite/caddy-kvaware/internal/engine/kvevents"
)

func TestPublishersOfAnUpstream(t *testing.T) {
	const host = "tcp://{http.reverse_proxy.upstream.host}"
	e := Events{Address: host + ":5557", Replay: host + ":5567", Ranks: 2}
	want := []kvevents.Publisher{
		{Upstream: "[::1]:8000", Rank: 0, Events: "[::1]:5557", Replay: "[::1]:5567"},
		{Upstream: "[::1]:8000", Rank: 1, Events: "[::1]:5558", Replay: "[::1]:5568"},
	}
	if got := e.Publishers("[::1]:8000"); !slices.Equal(got, want) {
		t.Fatalf("got %v, want %v", got, want)
	}
	e = Events{Address: host + ":+1000", Replay: host + ":+2000", Ranks: 1}
	for upstream, port := range map[string]string{"a:8000": "000", "a:8001": "001"} {
		want := []kvevents.Publisher{{Upstream: upstream, Events: "a:9" + port, Replay: "a:10" + port}}
		if got := e.Publishers(upstream); !slices.Equal(got, want) {
			t.Fatalf("got %v, want %v", got, want)
		}
	}
	e = Events{Address: host + ":5557", Replay: host + ":5567", Ranks: 2}
	for _, dial := range []string{"unix//run/engine.sock", "node-a", ""} {
		if got := e.Publishers(dial); got != nil {
			t.Errorf("%q: got %v", dial, got)
		}
	}
	e = Events{Address: host + ":65535", Ranks: 2}
	if got := e.Publishers("a:1"); got != nil {
		t.Errorf("a rank beyond the last port: %v", got)
	}
	e = Events{Listen: "0.0.0.0:5557", Ranks: 1}
	if got := e.Publishers("a:1"); !slices.Equal(got, []kvevents.Publisher{{Upstream: "a:1"}}) {
		t.Errorf("an upstream that connects to the gateway: %v", got)
	}
}

func TestPortsOverlap(t *testing.T) {
	const host = "tcp://{http.reverse_proxy.upstream.host}"
	for _, c := range []struct {
		events Events
		want   bool
	}{
		{Events{Address: host + ":5557", Replay: host + ":5558", Ranks: 2}, true},
		{Events{Address: host + ":5558", Replay: host + ":5557", Ranks: 2}, true},
		{Events{Address: host + ":5557", Replay: host + ":5559", Ranks: 2}, false},
		{Events{Address: host + ":5557", Replay: "tcp://other:5557", Ranks: 2}, false},
		{Events{Address: host + ":5557", Ranks: 2}, false},
		{Events{Address: host + ":+1000", Replay: host + ":+1001", Ranks: 2}, true},
		{Events{Address: host + ":+1000", Replay: host + ":+1002", Ranks: 2}, false},
		{Events{Address: host + ":+1000", Replay: host + ":9001", Ranks: 2}, false},
		{Events{Listen: "0.0.0.0:5557", Ranks: 2}, false},
	} {
		if got := c.events.PortsOverlap(); got != c.want {
			t.Errorf("%+v: %v", c.events, got)
		}
	}
}
