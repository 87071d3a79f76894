// SPDX-License-Identifier: Apache-2.0

package janitor

import (
	"errors"
	"io"
	"net/http"
	"strconv"

	"github.com/bauxite/caddy-kvaware/internal/admission"
	"github.com/bauxite/caddy-kvaware/internal/answer"
	"github.com/bauxite/caddy-kvaware/internal/prompt"
	"github.com/bauxite/caddy-kvaware/janitor/pii"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// exchangeVar is the request variable that holds the Exchange.
const exchangeVar = "pii_janitor.exchange"

// Why an observer's watch ended other than with an error of the proxy.
var (
	// ErrSuperseded: another observer took over.
	ErrSuperseded = errors.New("another observer took over")
	// ErrOver: Observe came after the end of the request.
	ErrOver = errors.New("the exchange is over")
	// ErrAborted: the answer was cut off, or the handler panicked.
	ErrAborted = errors.New("the exchange was aborted")
)

// Observer follows the answer of one request. All calls come from the
// goroutine that serves the request, in this order, and none comes after End.
type Observer interface {
	// Header is called once with the final status and header, just before they
	// are sent to the client. No other attempt is possible from here on. The
	// header must be neither changed nor kept.
	Header(status int, h http.Header)

	// FirstToken is called when the first token of the answer passes.
	FirstToken()

	// Usage is called when the engine reported its token counts.
	Usage(u answer.Usage)

	// Finish is called at most once and after Usage, when the engine said that
	// the answer is complete. toolCalls: it asks the client to run tools, and
	// the next turn of the conversation follows soon.
	Finish(toolCalls bool)

	// End is called exactly once, however the request ends, a panic included.
	// err is nil when the answer was passed on whole.
	End(err error)
}

// Exchange is one request and its answer, as the janitor leaves it for the
// handlers behind it: there is one for every request the janitor let through.
// It is for the goroutine that serves the request and for no other.
//
// The scrubbed body is held until the answer's header is sent; from then on
// no other attempt is possible and the methods that need it say so.
type Exchange struct {
	janitor *Handler
	api     prompt.API
	model   string
	stream  bool

	bodyRead  bool          // the janitor read the body: it stands in body
	body      []byte        // what the engine gets, but for edits; nil: none, or let go
	places    members       // where in body members can be added
	edits     []prompt.Edit // members added for the policy
	dropUsage bool          // AskUsage added what the client did not ask for
	salted    bool
	salt      string           // set by Salt
	doc       *prompt.Document // the scrubbed rendition; nil: none, or let go

	renditionDiffers bool // the rendition is not that of body: values in body are hidden in it

	findings   int
	restorable func(pii.Entity) bool

	arrival   *arrival         // the body, until it has arrived whole; nil: it has, or there is none
	lease     *admission.Lease // nil: nothing is held
	vault     *vault           // nil: nothing was replaced
	retention *retention       // what outlives the bodies; nil: nothing was retained
	observer  Observer
	released  bool
	ended     bool
}

// From returns the Exchange of a request, or false when no janitor has seen
// it. That it is there says that the janitor let the request through: its body
// was scrubbed, or it has none, or the configuration lets bodies of its kind
// pass.
func From(r *http.Request) (*Exchange, bool) {
	x, ok := caddyhttp.GetVar(r.Context(), exchangeVar).(*Exchange)
	return x, ok
}

// API is the shape of the request body, told from the path.
func (x *Exchange) API() prompt.API { return x.api }

// Model is the model asked for, "" when the request names none.
func (x *Exchange) Model() string { return x.model }

// Stream reports whether the answer is wanted as a stream of events.
func (x *Exchange) Stream() bool { return x.stream }

// Body returns the scrubbed body as it goes to the engine, but for members
// added by AskUsage and Salt. It is nil when there is none, when the janitor
// did not read it and once the answer's header was sent. It must be neither
// changed nor kept.
func (x *Exchange) Body() []byte { return x.body }

// Attach puts the scrubbed body into r, for another attempt as often as
// needed: with a reader of its own, the length, and GetBody. A request whose
// body the janitor has not read, or that has none, is left as it is. Attach
// reports false once the answer has begun: then there is nothing left to send.
func (x *Exchange) Attach(r *http.Request) bool {
	if x.released {
		return false
	}
	if !x.bodyRead {
		return true
	}
	open := x.reader()
	body := open()
	size := body.size()
	r.Body = body
	r.GetBody = func() (io.ReadCloser, error) { return open(), nil }
	r.ContentLength = size
	r.TransferEncoding = nil
	r.Header.Set("Content-Length", strconv.FormatInt(size, 10))
	return true
}

// reader returns a function that makes readers of the body as it is now.
func (x *Exchange) reader() func() *bodyReader {
	body, edits := x.body, x.edits
	return func() *bodyReader { return newBodyReader(body, edits) }
}

// Sign makes the signature of the scrubbed prompt: the hashes of its blocks of
// blockSize bytes, chained, under key, for one model and tenant. With depth
// N > 0 it ends with the N-th message (the first holds tools and system
// prompt). It reports false when the request must not enter the tree: its API
// has no prefix to share, its prompt is a list or token ids, the janitor has
// not read it, or the answer has begun.
//
// It is the only constructor of a Signature, and it reads nothing but the
// scrubbed rendition: in detect mode too, where the engine gets the original.
func (x *Exchange) Sign(key []byte, model, tenant string, blockSize, depth int) (Signature, bool) {
	if x.doc == nil || len(x.doc.Segments) == 0 || blockSize < 1 || depth < 0 {
		return Signature{}, false
	}
	return sign(x.doc, x.api, key, model, tenant, blockSize, depth), true
}

// Observe makes o follow the answer. An observer that was there before is told
// that it ended with ErrSuperseded. After the end of the request o is told
// ErrOver at once.
func (x *Exchange) Observe(o Observer) {
	x.endObserver(ErrSuperseded)
	if x.ended {
		o.End(ErrOver)
		return
	}
	x.observer = o
}

func (x *Exchange) endObserver(err error) {
	if o := x.observer; o != nil {
		x.observer = nil // first, so that a panic in End cannot bring a second one
		o.End(err)
	}
}

// begin is called when the answer's final header is about to be sent.
func (x *Exchange) begin(status int, h http.Header) {
	if x.observer != nil {
		x.observer.Header(status, h)
	}
	x.releaseBodies()
}

// letBodiesGo drops the bodies and gives their bytes back; what the vault
// holds and what was retained stays counted.
func (x *Exchange) releaseBodies() {
	x.released = true
	x.body, x.edits = nil, nil
	if x.doc != nil {
		releaseDocument(x.doc)
		x.doc = nil
	}
	if x.lease != nil {
		if x.retention != nil {
			x.retention.takeOver(x.lease)
		}
		keep := int64(0)
		if x.vault != nil {
			keep = x.vault.size()
		}
		x.lease.ShrinkTo(keep)
	}
}

// end is called when the request is over, in whatever way. It may be called
// again; only the first call counts.
func (x *Exchange) end(err error) {
	if x.ended {
		return
	}
	x.ended = true
	defer x.wipe() // also when an observer panics
	x.endObserver(err)
}

// wipe leaves nothing of the request behind.
func (x *Exchange) wipe() {
	x.releaseBodies()
	if x.vault != nil {
		x.vault.wipe()
	}
	if x.lease != nil {
		x.lease.Close()
	}
}

// restores reports whether anything can be put back into the answer.
func (x *Exchange) restores() bool { return x.vault != nil && x.vault.Len() > 0 }

// reserve counts n more bytes until the end of the request, if there is room.
func (x *Exchange) tryGrow(n int64) bool {
	return x.lease == nil || x.lease.TryGrow(n)
}

// occupy counts n more bytes for an answer that is under way, or less when n
// is negative. It is never refused: that would break the answer.
func (x *Exchange) forceGrow(n int64) {
	if x.lease == nil { // the request had no body
		x.lease = x.janitor.queue.Open(admission.Request{Limit: x.janitor.InFlightLimit, Announced: -1})
		x.lease.Complete()
	}
	x.lease.Force(n)
}
