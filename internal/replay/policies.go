// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"errors"
	"strings"
	"time"
)

// kind is a policy by name.
type kind struct {
	name   string
	doc    string
	bound  bool // not a policy one could run: for comparison only
	pooled bool // all nodes share one cache
	make   func(w *world) policy
}

// kinds is every policy, in the order in which they are shown.
var kinds = []kind{
	{name: "kv_aware", doc: "this gateway's", make: newKVAware},
	{name: "round_robin", doc: "one after the other", make: newRoundRobin},
	{name: "random", doc: "uniformly random", make: newRandom},
	{name: "least_conn", doc: "fewest requests in flight", make: newLeastConn},
	{name: "chwbl", doc: "consistent hashing with bounded load, as KubeAI", make: newCHWBL},
	{name: "cache_aware", doc: "SMG (sgl-router) cache_aware", make: newCacheAware},
	{name: "dynamo", doc: "NVIDIA Dynamo's cost, from exact KV events", make: newDynamo},
	{name: "llm_d", doc: "llm-d's weighted score, prefix 2, KV use 1, queue 1", make: newLLMD},
	{name: "prefixaware", doc: "vLLM production-stack prefixaware", make: newPrefixAware},
	{name: "session", doc: "sticky session by rendezvous hashing", make: newSession},
	{name: "exact", doc: "bound: least cost by exact knowledge of queues and caches", bound: true, make: newExact},
	{name: "pooled", doc: "bound: one cache shared by all nodes, least queued work", bound: true, pooled: true, make: newPooled},
}

// Policies lists the names of all policies with a word on each.
func Policies() (names, docs []string) {
	for i := range kinds {
		names, docs = append(names, kinds[i].name), append(docs, kinds[i].doc)
	}
	return names, docs
}

var errPolicy = errors.New("unknown policy, there are " + policyNames())

func policyNames() string {
	names, _ := Policies()
	return strings.Join(names, ", ")
}

func kindOf(name string) (*kind, error) {
	for i := range kinds {
		if kinds[i].name == name {
			return &kinds[i], nil
		}
	}
	return nil, errPolicy
}

// blind is embedded by policies that look at requests only as they come.
type blind struct{}

func (blind) first(*job, time.Duration) {}
func (blind) done(*job, time.Duration)  {}
