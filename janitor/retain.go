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

// maxSalt is the longest cache_salt that engines take, in bytes.
const maxSalt = 1024

// Retained is what the engine got of one request, kept beyond the answer's
// header for work that goes on beside it: it is there, and counted under
// in_flight_limit, until Release. Its methods may be called from any
// goroutine, also after the request has ended.
//
// It has the scrubbed prompt and nothing that was replaced in it.
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
// answer's header has been sent, in [Observer.Header] for the last time, and
// every Retained it returns has to be released.
//
// It reports false when there is nothing to learn from: the request cannot be
// signed, or what the engine gets is not what is signed (something was found
// and only reported, in detect mode), or there is no room: what all requests
// retain may fill an eighth of in_flight_limit, and while others wait for room
// nothing is added to it.
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

// API is the shape of the body.
func (r *Retained) API() prompt.API { return r.api }

// Model is the model asked for, "" when the request names none.
func (r *Retained) Model() string { return r.model }

// Salt is the cache_salt that the engine got when Retain was called: the one
// set by [Exchange.Salt], else the client's own, "" when there is none.
func (r *Retained) Salt() string { return r.salt }

// Body is the scrubbed body, but for the members that AskUsage and Salt add:
// neither changes what the engine makes tokens of. It is nil after Release. It
// must not be changed, nor kept beyond Release longer than it takes to stop
// reading: it is no longer counted then.
func (r *Retained) Body() []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.body
}

// Render streams the rendition, as [Exchange.Sign] hashes it: chunk by chunk,
// with the message each belongs to, until yield returns false. A chunk is valid
// only during the call. After Release there is none.
func (r *Retained) Render(yield func(message int32, chunk []byte) bool) {
	r.mu.Lock()
	d := prompt.Document{API: r.api, Body: r.body, Segments: r.segments}
	r.mu.Unlock()
	d.Render(yield)
	d.Reset()
}

// Release lets go of the body and gives its bytes back, if the request has
// done so too. It may be called again.
//
// The bytes are not overwritten: the engine's connection may still be reading
// them, and there is nothing in them that was not meant for it.
func (r *Retained) Release() {
	r.mu.Lock()
	held := r.body != nil
	r.body, r.segments = nil, nil
	r.mu.Unlock()
	if held {
		r.shared.remove()
	}
}

// hold is what the Retained of one request have in common: the bytes that
// they keep counted.
type retention struct {
	queue *admission.Queue
	body  int64

	mu    sync.Mutex
	users int
	size  int64            // what is retained: the body, and what each user has of its own
	lease *admission.Lease // of it, once the request has let go of the bodies
}

// take adds one Retained, which has n bytes of its own, if there is room.
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

// drop takes one Retained away. After the last one nothing is retained.
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

// inherit takes over what is still in use from the lease of a request that
// lets go of its bodies.
func (h *retention) takeOver(from *admission.Lease) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.users > 0 && h.lease == nil {
		h.lease = from.Split(h.size)
	}
}

// CacheSalt is the cache_salt that the engine gets: the one set by Salt, else
// the client's own, "" when there is none or the answer has begun.
func (x *Exchange) CacheSalt() string {
	if x.released || x.body == nil {
		return ""
	}
	return x.saltInEffect()
}

// saltInEffect is the cache_salt that goes to the engine.
func (x *Exchange) saltInEffect() (salt string) {
	if x.salted {
		return x.salt
	}
	if m := x.places.cacheSalt; m.Present() && m.End-m.Start <= 6*maxSalt {
		// Anything but a string is refused by the engine.
		_ = json.Unmarshal(x.body[m.Start:m.End], &salt)
	}
	return salt
}
