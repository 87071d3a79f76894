// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"errors"
	"strings"
	"time"
)

// policySpec describes one policy.
type policySpec struct {
	name   string
	doc    string
	bound  bool // for comparison only: no gateway could run it
	pooled bool // all nodes share one cache
	make   func(w *simulation) policy
}

// policySpecs lists all policies in the order of the output.
var policySpecs = []policySpec{
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

// Policies lists the names of all policies, each with a short description.
func Policies() (names, docs []string) {
	for i := range policySpecs {
		names, docs = append(names, policySpecs[i].name), append(docs, policySpecs[i].doc)
	}
	return names, docs
}

var errPolicy = errors.New("unknown policy: want " + policyNames())

func policyNames() string {
	names, _ := Policies()
	return strings.Join(names, ", ")
}

func specOf(name string) (*policySpec, error) {
	for i := range policySpecs {
		if policySpecs[i].name == name {
			return &policySpecs[i], nil
		}
	}
	return nil, errPolicy
}

// noFeedback is embedded by policies that ignore first tokens and ends.
type noFeedback struct{}

func (noFeedback) first(*job, time.Duration) {}
func (noFeedback) done(*job, time.Duration)  {}
