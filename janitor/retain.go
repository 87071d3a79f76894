// SPDX-License-Identifier: Apache-2.0

package janitor

import (
	"encoding/json"
	"slices"
	"sync"
	"unsafe"

	"github.com/bauxite/caddy-kvaware/internal/admission"
	"github.com/bauxite/caddy-kvaware/internal/prompt"
)

// maxSalt is the length of the longest cache_salt that engines accept, in bytes.
const maxSalt = 1024

// Retained keeps the scrubbed prompt of one request after the header of the
// answer, for work in the background. It counts under in_flight_limit until
// Release. Its methods may be called from any goroutine, even after the request
// has ended.
//
// It has the scrubbed prompt and none of the values that were replaced in it.
type Retained struct {
	api    prompt.API
	model  string
	salt   string
	shared *retention

	mu       sync.Mutex
	body     []byte // nil: released
	segments []prompt.Segment
}

// Retain keeps the scrubbed body and its rendition. It can be called until the
// header of the answer is sent, and for the last time in [Observer.Header]. The
// caller must release the Retained.
//
// It reports false when the request cannot be signed, when the engine gets
// another prompt than the signed one (detect mode reported a value), or when
// there is no room. All requests together may retain an eighth of
// in_flight_limit, and nothing more while others wait for room.
func (x *Exchange) Retain() (*Retained, bool) {
	if x.ended || x.released || x.renditionDiffers || x.lease == nil || x.body == nil || x.doc == nil || len(x.doc.Segments) == 0 {
		return nil, false
	}
	if x.retention == nil {
		x.retention = &retention{queue: x.janitor.queue, body: int64(cap(x.body))}
	}
	if !x.retention.add(x.lease, int64(len(x.doc.Segments))*int64(unsafe.Sizeof(prompt.Segment{}))) {
		return nil, false
	}
	return &Retained{
		api: x.api, model: x.model, salt: x.saltInEffect(), shared: x.retention,
		body: x.body, segments: slices.Clone(x.doc.Segments),
	}, true
}

// API returns the API of the request.
func (r *Retained) API() prompt.API { return r.api }

// Model returns the model that the request names, "" for none.
func (r *Retained) Model() string { return r.model }

// Salt returns the cache_salt of the request when Retain was called: the one set
// by [Exchange.Salt], else the client's own, "" for none.
func (r *Retained) Salt() string { return r.salt }

// Body returns the scrubbed body without the members that AskUsage and Salt add,
// which do not change the tokens of the prompt. It is nil after Release. It must
// not be changed, and not be kept after Release, when it no longer counts.
func (r *Retained) Body() []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.body
}

// Render yields the rendition in the chunks that [Exchange.Sign] hashes, each
// with the index of its message, until yield returns false. A chunk is valid only
// during the call. After Release there are none.
func (r *Retained) Render(yield func(message int32, chunk []byte) bool) {
	r.mu.Lock()
	d := prompt.Document{API: r.api, Body: r.body, Segments: r.segments}
	r.mu.Unlock()
	d.Render(yield)
	d.Reset()
}

// Release drops the body and gives its bytes back once the request has dropped it
// too. It may be called again.
//
// The bytes are not overwritten: the connection to the engine may still read
// them, and all of them are meant for the engine.
func (r *Retained) Release() {
	r.mu.Lock()
	held := r.body != nil
	r.body, r.segments = nil, nil
	r.mu.Unlock()
	if held {
		r.shared.remove()
	}
}

// retention is shared by all Retained of one request. It holds the bytes that
// they keep counted.
type retention struct {
	queue *admission.Queue
	body  int64

	mu    sync.Mutex
	users int
	size  int64            // the body, and the bytes of each user's own
	lease *admission.Lease // holds size once the request has released the bodies
}

// add adds one Retained, which has n bytes of its own, if there is room.
func (h *retention) add(from *admission.Lease, n int64) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	more := n
	if h.users == 0 {
		more += h.body
	}
	if !from.TryRetain(n, more) {
		return false
	}
	h.users++
	h.size += more
	return true
}

// remove removes one Retained. After the last one nothing is retained.
func (h *retention) remove() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.users--; h.users > 0 {
		return
	}
	h.queue.Unretain(h.size)
	h.size = 0
	if h.lease != nil {
		h.lease.Close()
	}
}

// takeOver takes the bytes that are still in use from the lease of a request that
// releases its bodies.
func (h *retention) takeOver(from *admission.Lease) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.users > 0 && h.lease == nil {
		h.lease = from.Split(h.size)
	}
}

// CacheSalt returns the cache_salt of the request: the one set by Salt, else the
// client's own, "" for none or once the answer has begun.
func (x *Exchange) CacheSalt() string {
	if x.released || x.body == nil {
		return ""
	}
	return x.saltInEffect()
}

// saltInEffect returns the cache_salt that the engine gets.
func (x *Exchange) saltInEffect() (salt string) {
	if x.salted {
		return x.salt
	}
	if m := x.places.cacheSalt; m.Present() && m.End-m.Start <= 6*maxSalt {
		// The engine refuses anything but a string.
		_ = json.Unmarshal(x.body[m.Start:m.End], &salt)
	}
	return salt
}
