// SPDX-License-Identifier: Apache-2.0

package kvaware

import (
	"errors"
	"time"

	"github.com/caddyserver/caddy/v2"
)

// maxStagingWait bounds how long a request may be held for staging.
const maxStagingWait = time.Minute

// LMCache says where LMCache can be asked to bring a prompt's KV blocks up from
// disk or remote storage to the node's CPU memory (staging) while the request
// is on its way. The GPU is filled by the engine itself, when it schedules the
// request: nothing outside can do that.
//
// One of `address`, `coordinator` and `controller` is to be given.
type LMCache struct {
	// Each node's LMCache server (MP mode), as a URL such as
	// `http://{http.reverse_proxy.upstream.host}:8080`, with the same
	// placeholders as `events`.
	Address string `json:"address,omitempty"`

	// In its place the MP coordinator's URL, which knows all nodes. A node is
	// found by the IP address it has registered with.
	Coordinator string `json:"coordinator,omitempty"`

	// Or the URL of the controller of in-process LMCache. It only tells which
	// instance holds a prefix: nothing shows that it can raise one from disk.
	Controller string `json:"controller,omitempty"`

	// How long a request may be held for its blocks to be staged. It is, only
	// when computing them would take longer than that. Default: 0, not at all.
	Wait caddy.Duration `json:"wait,omitempty"`

	// Whether to send the engine a request for one token with the same prompt
	// ahead of the real one, which is the only way from outside to have its
	// blocks on the GPU before that. It takes a place in the engine's batch, may
	// push out others' blocks, and counts in the engine's figures. Default: false.
	WarmGPU bool `json:"warm_gpu,omitempty"`
}

var (
	errLMCache = errors.New("lmcache takes a URL such as http://{http.reverse_proxy.upstream.host}:8080, or coordinator or controller and a URL")
	errWait    = errors.New("lmcache: wait takes a duration from 0s to 1m")
)

// check refuses options that are out of range.
func (l *LMCache) check() error {
	given := 0
	for _, e := range []string{l.Address, l.Coordinator, l.Controller} {
		if e == "" {
			continue
		}
		if given++; !endpoint(e).check("http") {
			return errLMCache
		}
	}
	switch {
	case given != 1:
		return errLMCache
	case l.Wait < 0 || time.Duration(l.Wait) > maxStagingWait:
		return errWait
	}
	return nil
}

// known is l with the placeholders replaced that mean the same everywhere.
func (l *LMCache) known() *LMCache {
	k := *l
	k.Address = string(endpoint(l.Address).known())
	k.Coordinator = string(endpoint(l.Coordinator).known())
	k.Controller = string(endpoint(l.Controller).known())
	return &k
}
