// SPDX-License-Identifier: Apache-2.0

package kvaware

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/bauxite/caddy-kvaware/internal/transport"
)

const (
	unionTimeout = 2 * time.Second // for all upstreams, which are asked at the same time
	maxUnions    = 4               // requests of one policy that are answered so at a time
	maxUnionAsks = 16              // upstreams that one of them asks at a time
	maxModelList = 1 << 20         // bytes of one upstream's list
	maxUnionSize = 16 << 20        // bytes of all lists of one request
)

// modelUnion answers requests for the list of models with what all upstreams list.
type modelUnion struct {
	base  http.RoundTripper // of the proxy
	slots chan struct{}     // holds one for each request under way
}

func newModelUnion(base http.RoundTripper) *modelUnion {
	return &modelUnion{base: base, slots: make(chan struct{}, maxUnions)}
}

// intercept implements the hook of transport.Transport. When no upstream answers
// with a list, it has the request sent, so that the client gets an engine's own
// answer. Engines see the client's own headers, and so its credentials.
func (m *modelUnion) intercept(p *Policy, req *http.Request) (*http.Response, error) {
	pool, ok := caddyhttp.GetVar(req.Context(), poolVar).(reverseproxy.UpstreamPool)
	if !ok {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(req.Context(), unionTimeout)
	defer cancel()
	select {
	case m.slots <- struct{}{}:
		defer func() { <-m.slots }()
	case <-ctx.Done():
		return nil, nil
	}
	lists := m.fetchAll(ctx, req, p.dialInfos(pool, req))
	body := mergeModels(lists)
	if body == nil {
		return nil, nil
	}
	return &http.Response{
		Status: "200 OK", StatusCode: http.StatusOK, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{
			"Content-Type":   {"application/json"},
			"Content-Length": {strconv.Itoa(len(body))},
		},
		Body: io.NopCloser(bytes.NewReader(body)), ContentLength: int64(len(body)), Request: req,
	}, nil
}

// dialInfos returns where to reach the upstreams that take requests, each once and
// in their order.
func (p *Policy) dialInfos(pool reverseproxy.UpstreamPool, r *http.Request) (infos []reverseproxy.DialInfo) {
	c := p.candidates(pool, nil, r)
	defer c.release()
	for i, u := range c.upstreams {
		a, err := caddy.ParseNetworkAddress(c.scored[i].Address)
		if err != nil || a.PortRangeSize() != 1 {
			continue
		}
		info := reverseproxy.DialInfo{
			Upstream: u, Network: a.Network, Address: a.JoinHostPort(0),
			Host: a.Host, Port: strconv.FormatUint(uint64(a.StartPort), 10),
		}
		if !slices.ContainsFunc(infos, func(other reverseproxy.DialInfo) bool { return other.String() == info.String() }) {
			infos = append(infos, info)
		}
	}
	return infos
}

// fetchAll returns the lists of the upstreams, in their order. One that gives none
// in time is left out.
func (m *modelUnion) fetchAll(ctx context.Context, req *http.Request, infos []reverseproxy.DialInfo) [][]listedModel {
	lists := make([][]listedModel, len(infos))
	asking := make(chan struct{}, maxUnionAsks)
	room := new(atomic.Int64)
	room.Store(maxUnionSize)
	var all sync.WaitGroup
	for i, info := range infos {
		asking <- struct{}{}
		all.Go(func() {
			defer func() { <-asking }()
			lists[i] = m.fetch(transport.Elsewhere(ctx, req, info), room)
		})
	}
	all.Wait()
	return lists
}

// listedModel is a model as an engine lists it.
type listedModel struct {
	id  string
	raw json.RawMessage
}

// fetch returns the list of one upstream, nil without one that can be read. room is
// the number of bytes that the lists of a request may still take.
func (m *modelUnion) fetch(req *http.Request, room *atomic.Int64) []listedModel {
	for _, name := range [...]string{"Accept-Encoding", "Range", "If-None-Match", "If-Modified-Since", "If-Match", "If-Unmodified-Since", "If-Range"} {
		req.Header.Del(name)
	}
	answer, err := m.base.RoundTrip(req)
	if err != nil {
		return nil
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil
	}
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxModelList+1))
	if err != nil || len(body) > maxModelList || room.Add(-int64(len(body))) < 0 {
		return nil
	}
	return readModelList(body)
}

// readModelList reads the answer of GET /v1/models, nil when it is none.
func readModelList(body []byte) []listedModel {
	var list struct {
		Data []json.RawMessage `json:"data"`
	}
	if json.Unmarshal(body, &list) != nil || list.Data == nil {
		return nil
	}
	models := make([]listedModel, 0, len(list.Data))
	for _, raw := range list.Data {
		var model struct {
			ID *string `json:"id"`
		}
		if json.Unmarshal(raw, &model) != nil || model.ID == nil {
			return nil
		}
		models = append(models, listedModel{*model.ID, raw})
	}
	return models
}

// mergeModels returns a list of the models in any of the lists, each as the first
// list that has it says. It returns nil when there is no list.
func mergeModels(lists [][]listedModel) []byte {
	if !slices.ContainsFunc(lists, func(l []listedModel) bool { return l != nil }) {
		return nil
	}
	body := []byte(`{"object":"list","data":[`)
	seen := make(map[string]bool)
	for _, list := range lists {
		for _, model := range list {
			if seen[model.id] {
				continue
			}
			if len(seen) > 0 {
				body = append(body, ',')
			}
			seen[model.id] = true
			body = append(body, model.raw...)
		}
	}
	return append(body, "]}"...)
}
