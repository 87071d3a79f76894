// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"testing"

	"github.com/bauxite/caddy-kvaware/internal/engine/kvevents"
	"github.com/bauxite/caddy-kvaware/internal/kvindex"
)

// answered sends a text to an upstream, whose engine reports so many cached tokens.
// In between, meanwhile is called.
func (rt *Router) answered(address, text string, cached int, meanwhile func()) {
	r := rt.followedRequest(text)
	r.Route(a(address), false)
	meanwhile()
	r.Confirm()
	r.FirstToken()
	r.Reported(len(text)*letterTokens+1, cached)
	r.End()
}

// An engine that reports fewer cached tokens than its complete map says corrects it.
func TestAnAnswerCorrectsTheMap(t *testing.T) {
	const whole = 4 * letterTokens
	held := func(tokens int) prefixMatch { return prefixMatch{tokens: tokens, weighted: tokens, byEvents: true} }
	for name, c := range map[string]struct {
		cached    int
		meanwhile func(*testing.T, *kvindex.Feed)
		want      int
	}{
		"nothing is there":            {0, nil, 0},
		"half of it is there":         {whole / 2, nil, whole / 2},
		"it is there":                 {whole, nil, whole},
		"more than the map says":      {whole + 1, nil, whole},
		"the last text block differs": {whole - letterTokens, nil, whole},
		"it is computed again": {0, func(t *testing.T, feed *kvindex.Feed) {
			publish(t, feed, kvevents.GPU, idsOf("abcd"))
		}, whole},
		"the stream has died": {0, func(_ *testing.T, feed *kvindex.Feed) { feed.SetKnowledge(kvevents.Unknown) }, whole},
	} {
		t.Run(name, func(t *testing.T) {
			rt, _ := newTestRouter()
			rt.link(t, "abcd")
			rt.link(t, "xyz")
			feed := rt.followRanks("one", 1)[0]
			publish(t, feed, kvevents.GPU, idsOf("abcd"))
			publish(t, feed, kvevents.GPU, idsOf("xyz"))
			rt.answered("one", "xyz", 3*letterTokens, func() {}) // it reports cached tokens
			if c.meanwhile == nil {
				c.meanwhile = func(*testing.T, *kvindex.Feed) {}
			}
			before := feed.Knowledge()
			if name == "the stream has died" {
				c.meanwhile(t, feed)
			}
			rt.answered("one", "abcd", c.cached, func() { c.meanwhile(t, feed) })
			feed.SetKnowledge(before)
			wantMatch(t, rt.followedRequest("abcd?"), "one", held(c.want))
			wantMatch(t, rt.followedRequest("xyz?"), "one", held(3*letterTokens))
		})
	}
}

// With several ranks nothing tells which of them has answered.
func TestNoAnswerCorrectsTheMapOfSeveralRanks(t *testing.T) {
	rt, _ := newTestRouter()
	rt.link(t, "abcd")
	for _, feed := range rt.followRanks("one", 2) {
		publish(t, feed, kvevents.GPU, idsOf("abcd"))
	}
	rt.answered("one", "abcd", letterTokens, func() {})
	wantMatch(t, rt.followedRequest("abcd?"), "one", prefixMatch{tokens: 4 * letterTokens, weighted: 4 * letterTokens, byEvents: true})
}
