// SPDX-License-Identifier: Apache-2.0

// Package modelunion answers requests for the list of models with what all upstreams
// of a proxy list.
package modelunion

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

// Union asks the upstreams of one proxy for their lists.
type Union struct {
	base  http.RoundTripper // of the proxy
	slots chan struct{}     // holds one for each request under way
}

// New returns a Union that asks through a proxy's transport.
func New(base http.RoundTripper) *Union {
	return &Union{base: base, slots: make(chan struct{}, maxUnions)}
}

// Answer returns the answer to a request for the list of models, made of the lists of
// the upstreams at infos, or nil when none of them answers with a list in time. Then
// the request should be sent, so that the client gets an engine's own answer. Engines
// see the client's own headers, and so its credentials.
func (u *Union) Answer(req *http.Request, infos []reverseproxy.DialInfo) *http.Response {
	ctx, cancel := context.WithTimeout(req.Context(), unionTimeout)
	defer cancel()
	select {
	case u.slots <- struct{}{}:
		defer func() { <-u.slots }()
	case <-ctx.Done():
		return nil
	}
	body := mergeModels(u.fetchAll(ctx, req, infos))
	if body == nil {
		return nil
	}
	return &http.Response{
		Status: "200 OK", StatusCode: http.StatusOK, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{
			"Content-Type":   {"application/json"},
			"Content-Length": {strconv.Itoa(len(body))},
		},
		Body: io.NopCloser(bytes.NewReader(body)), ContentLength: int64(len(body)), Request: req,
	}
}

// fetchAll returns the lists of the upstreams, in their order. One that gives none
// in time is left out.
func (u *Union) fetchAll(ctx context.Context, req *http.Request, infos []reverseproxy.DialInfo) [][]listedModel {
	lists := make([][]listedModel, len(infos))
	asking := make(chan struct{}, maxUnionAsks)
	room := new(atomic.Int64)
	room.Store(maxUnionSize)
	var all sync.WaitGroup
	for i, info := range infos {
		asking <- struct{}{}
		all.Go(func() {
			defer func() { <-asking }()
			lists[i] = u.fetch(transport.Elsewhere(ctx, req, info), room)
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
func (u *Union) fetch(req *http.Request, room *atomic.Int64) []listedModel {
	for _, name := range [...]string{"Accept-Encoding", "Range", "If-None-Match", "If-Modified-Since", "If-Match", "If-Unmodified-Since", "If-Range"} {
		req.Header.Del(name)
	}
	answer, err := u.base.RoundTrip(req)
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
