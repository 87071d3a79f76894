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

// The errors of [Observer.End] that do not come from the proxy.
var (
	// ErrSuperseded says that another observer took over.
	ErrSuperseded = errors.New("another observer took over")
	// ErrOver says that Observe was called after the end of the request.
	ErrOver = errors.New("the exchange is over")
	// ErrAborted says that a handler panicked, or aborted the request before its
	// answer.
	ErrAborted = errors.New("the exchange was aborted")
	// ErrCut says that the engine cut the answer off: its connection broke after
	// the header, or a stream ended without the last event of its API ([DONE],
	// message_stop, response.completed).
	ErrCut = errors.New("the engine cut the answer off")
	// ErrClientLeft says that the client left before it had the whole answer: its
	// context ended, or a write to it failed. An engine is not to blame for it,
	// but the client may have left because it waited too long.
	ErrClientLeft = errors.New("the client left")
)

// Observer follows the answer to one request. All calls come from the goroutine
// that serves the request, in this order, and none comes after End.
type Observer interface {
	// Header is called once with the final status and header, just before they
	// are sent to the client. No further attempt is possible from then on. The
	// header must be neither changed nor kept. It is not called for status 499,
	// with which the proxy notes that the client has left.
	Header(status int, h http.Header)

	// Response is called at most once, when the engine names its response object
	// (Responses API), and before the client can read the ID. The engine may keep
	// the response, so that later requests refer to it. The ID must not be logged.
	Response(id string)

	// FirstToken is called when the first token of the answer passes through.
	FirstToken()

	// Usage is called when the engine reports its token counts.
	Usage(u answer.Usage)

	// Finish is called at most once, after Usage, when the engine reports that the
	// answer is complete. toolCalls says that the answer asks the client to run
	// tools, so the next turn of the conversation follows soon.
	Finish(toolCalls bool)

	// End is called exactly once, even after a panic. err is nil when the whole
	// answer was passed on. It is ErrCut when the engine failed in the middle of
	// it, and ErrClientLeft when the client did. Test it with errors.Is.
	End(err error)
}

// Exchange is one request and its answer. The janitor leaves one to the handlers
// behind it for every request that it lets through. Only the goroutine that
// serves the request may use it.
//
// The Exchange holds the scrubbed body until the header of the answer is sent.
// From then on no further attempt is possible, and the methods that need the
// body report so.
type Exchange struct {
	janitor  *Handler
	api      prompt.API
	model    string
	stream   bool
	priority int32

	stored    string // see StoredResponse
	continues bool   // the engine has a part of the prompt

	bodyRead  bool          // the janitor has read the body into body
	body      []byte        // the engine's body, without edits; nil: none, or released
	places    members       // where members of body can be added
	edits     []prompt.Edit // the members that were added
	dropUsage bool          // the client did not ask for usage; AskUsage did
	salted    bool
	salt      string           // set by Salt
	doc       *prompt.Document // the scrubbed rendition; nil: none, or released

	renditionDiffers bool // the rendition hides values that are in body (detect mode)

	findings   int
	restorable func(pii.Entity) bool

	arrival   *arrival         // nil: the body is complete, or there is none
	lease     *admission.Lease // nil: nothing is held
	vault     *vault           // nil: nothing was replaced
	retention *retention       // nil: nothing was retained
	writer    *responseWriter  // of the answer; nil until the request is let through
	observer  Observer
	refused   bool // see RefuseOverload
	released  bool
	ended     bool
}

// From returns the Exchange of a request, or false when no janitor has handled
// it. With an Exchange, the body was scrubbed, or the request has none, or the
// configuration lets such bodies pass.
func From(r *http.Request) (*Exchange, bool) {
	x, ok := caddyhttp.GetVar(r.Context(), exchangeVar).(*Exchange)
	return x, ok
}

// API returns the API of the request, according to its path.
func (x *Exchange) API() prompt.API { return x.api }

// Model returns the model that the request names, "" for none.
func (x *Exchange) Model() string { return x.model }

// Stream reports whether the client asks for a stream of events.
func (x *Exchange) Stream() bool { return x.stream }

// Priority returns the priority that the request gives itself, as vLLM reads it:
// the smaller number goes first. 0: none.
func (x *Exchange) Priority() int32 { return x.priority }

// StoredResponse returns the ID of the stored response that the request refers
// to: that of its path, such as ".../responses/ID", or its previous_response_id.
// "" is none. The engine that made the response is the only one that has it. The
// ID comes from the client and must not be logged.
func (x *Exchange) StoredResponse() string { return x.stored }

// Continues reports whether the prompt continues what one engine has stored, so that
// the request does not show all of it: with previous_response_id, a conversation or a
// prompt template. Such a request has no signature.
func (x *Exchange) Continues() bool { return x.continues }

// MayStore reports whether the answer may name a response object that the engine
// keeps.
func (x *Exchange) MayStore() bool { return x.api == prompt.Responses || x.stored != "" }

// AsksForModel reports whether the request is for the model that it names, and
// for nothing else that an engine may lack: neither a path that few engines have
// nor a prompt that continues what one engine has stored. A status of 404 then
// says that the engine lacks the model.
func (x *Exchange) AsksForModel() bool {
	return x.model != "" && x.stored == "" && !x.continues && !x.api.Dialect().AnyJSON
}

// Body returns the scrubbed body for the engine, without the members that
// AskUsage and Salt add. It is nil when there is none, when the janitor did not
// read it, and once the header of the answer was sent. It must be neither changed
// nor kept.
func (x *Exchange) Body() []byte { return x.body }

// Attach gives r the scrubbed body, with its length and GetBody. It can be called
// for each attempt. It leaves r as it is if there is no body, or if the janitor
// has not read it. It reports false once the answer has begun: then the body is
// gone.
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

// reader returns a function that makes readers of the body with its edits.
func (x *Exchange) reader() func() *bodyReader {
	body, edits := x.body, x.edits
	return func() *bodyReader { return newBodyReader(body, edits) }
}

// Sign returns the signature of the scrubbed prompt: the chained hashes of its
// blocks of blockSize bytes, under key, for one model and tenant. Names that stand
// for one model are to be given as one name, its lineage. With depth
// N > 0 the chain ends with the N-th message (the first holds tools and system
// prompt). Sign reports false when the request must not enter the tree: its API
// has no prefix to share, its prompt is a list or token ids, the janitor has not
// read it, or the answer has begun.
//
// It is the only constructor of a Signature, and reads only the scrubbed
// rendition, even in detect mode, in which the engine gets the original.
func (x *Exchange) Sign(key []byte, model, tenant string, blockSize, depth int) (Signature, bool) {
	if x.doc == nil || len(x.doc.Segments) == 0 || blockSize < 1 || depth < 0 {
		return Signature{}, false
	}
	return sign(x.doc, x.api, key, model, tenant, blockSize, depth), true
}

// Observe makes o follow the answer. A previous observer ends with ErrSuperseded.
// After the end of the request o itself ends at once, with ErrOver.
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

// begin is called just before the final header of the answer is sent.
func (x *Exchange) begin(status int, h http.Header) {
	if x.observer != nil {
		x.observer.Header(status, h)
	}
	x.releaseBodies()
}

// releaseBodies drops the bodies and gives their bytes back. The vault and the
// retained bytes stay counted.
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

// end is called when the request ends, however it ends. Only the first call has an
// effect.
func (x *Exchange) end(err error) {
	if x.ended {
		return
	}
	x.ended = true
	defer x.wipe() // also when an observer panics
	x.endObserver(err)
}

// wipe removes all that is held of the request.
func (x *Exchange) wipe() {
	x.releaseBodies()
	if x.vault != nil {
		x.vault.wipe()
	}
	if x.lease != nil {
		x.lease.Close()
	}
}

// restores reports whether the answer can have placeholders to restore.
func (x *Exchange) restores() bool { return x.vault != nil && x.vault.Len() > 0 }

// tryGrow counts n more bytes until the end of the request, if there is room.
func (x *Exchange) tryGrow(n int64) bool {
	return x.lease == nil || x.lease.TryGrow(n)
}

// forceGrow counts n more bytes for an answer under way, or fewer when n is
// negative. It cannot fail, because that would cut the answer off.
func (x *Exchange) forceGrow(n int64) {
	if x.lease == nil { // the request had no body
		x.lease = x.janitor.queue.Open(admission.Request{Limit: x.janitor.InFlightLimit, Announced: -1})
		x.lease.Complete()
	}
	x.lease.Force(n)
}
