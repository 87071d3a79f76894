// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"errors"
	"testing"
)

// fakeNode is an engine whose metrics the test sets.
type fakeNode struct {
	waiting int
	use     float64
}

func (n *fakeNode) Waiting() int   { return n.waiting }
func (n *fakeNode) Usage() float64 { return n.use }

func fakeNodes(n int) (nodes []Node, set []*fakeNode) {
	for range n {
		set = append(set, new(fakeNode))
		nodes = append(nodes, set[len(set)-1])
	}
	return nodes, set
}

func TestPickerCountsRequestsInFlight(t *testing.T) {
	nodes, _ := fakeNodes(3)
	l, err := NewPicker("least_conn", nodes, 64, 6400, 1)
	if err != nil {
		t.Fatal(err)
	}
	r := &Request{Tokens: 100, Output: 1, Chain: blocksOf(1)}
	var tickets []*Attempt
	taken := map[int]bool{}
	for range nodes {
		tickets = append(tickets, l.Pick(r))
		taken[tickets[len(tickets)-1].Node()] = true
	}
	if len(taken) != 3 {
		t.Fatalf("the nodes %v have one request each", taken)
	}
	tickets[1].FirstToken()
	tickets[1].Done()
	tickets[1].Done() // counts once
	for range 2 {
		if got := l.Pick(r); got.Node() != tickets[1].Node() {
			t.Fatalf("node %d, want the idle one", got.Node())
		} else {
			got.Done()
		}
	}
}

func TestPickerReadsCachesAndMetrics(t *testing.T) {
	nodes, set := fakeNodes(2)
	for _, policy := range []string{"dynamo", "llm_d", "cache_aware", "prefixaware"} {
		*set[0], *set[1] = fakeNode{}, fakeNode{}
		l, err := NewPicker(policy, nodes, 64, 6400, 1)
		if err != nil {
			t.Fatal(err)
		}
		r := &Request{Tokens: 500, Output: 1, Chain: blocksOf(1, 2, 3, 4, 5, 6, 7)}
		home := l.Pick(r)
		home.Done()
		for range 5 {
			again := l.Pick(r)
			if again.Node() != home.Node() {
				t.Errorf("%s: node %d, want the one that has the prompt", policy, again.Node())
			}
			again.Done()
		}
		if policy != "llm_d" {
			continue
		}
		// Usage and queue speak against it: the prefix weighs 2, less than both and
		// the other node's share of the prefix.
		r.Chain = append(blocksOf(1, 2, 3), 99, 98, 97, 96)
		set[home.Node()].waiting, set[home.Node()].use = 9, 0.9
		if got := l.Pick(r).Node(); got == home.Node() {
			t.Error("llm_d ignores the metrics")
		}
	}
}

func TestPickerRefuses(t *testing.T) {
	nodes, _ := fakeNodes(1)
	for _, c := range []struct {
		policy    string
		nodes     []Node
		block, kv int
		want      error
	}{
		{"kv_aware", nodes, 64, 64, errNotPickable},
		{"exact", nodes, 64, 64, errNotPickable},
		{"pooled", nodes, 64, 64, errNotPickable},
		{"best", nodes, 64, 64, errPolicy},
		{"random", nil, 64, 64, errNodes},
		{"random", nodes, 0, 64, errBlockSize},
		{"random", nodes, 64, 0, errKV},
	} {
		if _, err := NewPicker(c.policy, c.nodes, c.block, c.kv, 1); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.policy, err, c.want)
		}
	}
}
