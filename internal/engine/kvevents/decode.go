// SPDX-License-Identifier: Apache-2.0

package kvevents

import (
	"errors"

	"github.com/bauxite/caddy-kvaware/internal/engine/msgpack"
)

// ErrBatch is the error of Decode. The rest of the batch cannot be read either.
var ErrBatch = errors.New("kvevents: a batch cannot be read")

// errEvent means that one event cannot be used. Its end can still be found.
var errEvent = errors.New("kvevents: an event cannot be read")

// Batch describes a batch beside its events.
type Batch struct {
	Time float64 // when the engine assembled it, by its clock: seconds since 1970
	Rank int     // of the data-parallel engine core; -1: missing

	Events  int // yielded
	Unknown int // of types that did not exist when this was written
	Remote  int // of blocks that other nodes hold as well; see Decode

	// Events that cannot be read or exceed the limits are skipped. A lost store
	// hides blocks that are there; a lost removal leaves blocks known that are
	// gone.
	LostStores   int
	LostRemovals int // also events whose type cannot be read
}

// Malformed returns the number of events that were skipped as unreadable.
func (b *Batch) Malformed() int { return b.LostStores + b.LostRemovals }

// Decoder decodes batches and keeps its memory between them. The zero value is
// ready. It is not safe for concurrent use.
type Decoder struct {
	in    msgpack.Decoder
	event Event
	raw   fields

	hashes []uint64
	tokens []uint32
	extra  []uint64
	lora   []byte
}

// keptElements bounds the memory that a decoder keeps, in elements of each slice:
// hostile batches must not make every decoder as large as the largest event.
const keptElements = 1 << 16

// Decode reads a batch as vLLM (all versions with events) and SGLang publish
// it, and yields its events in order until yield returns false. An event, and
// all it refers to, is only valid until yield returns.
//
// Each event is an array or a map by its own first byte, so one stream may mix
// both. Unknown fields, trailing elements and types are skipped, as the engines'
// contract asks. Events of blocks with the locality REMOTE are skipped too: such a
// block lies in a shared store, which every node can load it from. It is no reason
// to prefer this node, and its removal says nothing of a copy on this node. The
// owner of a copy makes no difference: a block is here until every copy is removed.
//
// After an error, the events before the broken place were yielded. No error quotes
// the input.
func (d *Decoder) Decode(payload []byte, yield func(*Event) bool) (Batch, error) {
	defer d.trim()
	b := Batch{Rank: -1}
	d.in.Reset(payload)
	n, err := d.in.Array()
	if err != nil || n < 2 {
		return b, ErrBatch
	}
	if !d.in.Nil() {
		if b.Time, err = d.in.Float(); err != nil {
			return b, ErrBatch
		}
	}
	more, err := d.events(&b, yield)
	if err != nil || !more {
		return b, err
	}
	return b, d.trailer(&b, n-2)
}

// trailer reads the elements after the events: the rank, then unknown ones.
func (d *Decoder) trailer(b *Batch, n int) error {
	for i := range n {
		if i == 0 && d.in.Peek() == msgpack.Int {
			rank, negative, err := d.in.Int()
			if err != nil {
				return ErrBatch
			}
			if !negative && rank <= maxRank {
				b.Rank = int(rank)
			}
			continue
		}
		if d.in.Skip() != nil {
			return ErrBatch
		}
	}
	return nil
}

// events reads the array of events. It returns false when yield did.
func (d *Decoder) events(b *Batch, yield func(*Event) bool) (more bool, err error) {
	n, err := d.in.Array()
	if err != nil {
		return false, ErrBatch
	}
	for range n {
		start := d.in.Offset()
		d.event = Event{}
		err := d.readEvent()
		if err != nil || d.event.Kind == 0 || d.raw.remote {
			// Skip finds the event's end, however much of it was read.
			d.in.Seek(start)
			if d.in.Skip() != nil {
				return false, ErrBatch
			}
			b.countSkipped(d.event.Kind, err)
			continue
		}
		b.Events++
		if !yield(&d.event) {
			return false, nil
		}
	}
	return true, nil
}

// countSkipped counts an event that was not yielded.
func (b *Batch) countSkipped(kind Kind, err error) {
	switch {
	case err == nil && kind == 0:
		b.Unknown++
	case err == nil:
		b.Remote++
	case kind == Stored:
		b.LostStores++
	default:
		b.LostRemovals++
	}
}

// readEvent reads one event into d.event. Its Kind stays 0 when the type is
// unknown; the rest of the event is then not read.
func (d *Decoder) readEvent() error {
	d.raw = fields{}
	var err error
	switch d.in.Peek() {
	case msgpack.Array:
		err = d.arrayEvent()
	case msgpack.Map:
		err = d.mapEvent()
	default:
		return errEvent
	}
	if err == nil && d.event.Kind != 0 {
		err = d.complete()
	}
	return err
}

// arrayEvent reads an event whose fields have fixed positions.
func (d *Decoder) arrayEvent() error {
	n, err := d.in.Array()
	if err != nil || n == 0 {
		return errEvent
	}
	tag, err := d.in.Str()
	if err != nil {
		return errEvent
	}
	d.event.Kind = kindOf(tag)
	positions, least := positionsOf(d.event.Kind)
	if n < least {
		return errEvent
	}
	for i := 1; i < n && d.event.Kind != 0; i++ {
		f := ignored
		if i < len(positions) {
			f = positions[i]
		}
		if err := d.field(f); err != nil {
			return err
		}
	}
	return nil
}

// mapEvent reads an event whose fields have names, in any order.
func (d *Decoder) mapEvent() error {
	start := d.in.Offset()
	n, err := d.in.Map()
	if err != nil {
		return errEvent
	}
	first := d.in.Offset()
	if d.event.Kind, err = d.kind(n); err != nil || d.event.Kind == 0 {
		return err
	}
	d.in.Seek(start)
	if n, err = d.in.Map(); err != nil || d.in.Offset() != first {
		return errEvent
	}
	for range n {
		name, err := d.in.Str()
		if err != nil {
			return errEvent
		}
		if err := d.field(fieldOf(d.event.Kind, name)); err != nil {
			return err
		}
	}
	return nil
}

// kind looks for the type among n pairs, since fields of an unknown type can be
// anything. All engines send it first.
func (d *Decoder) kind(n int) (Kind, error) {
	for range n {
		name, err := d.in.Str()
		if err != nil {
			return 0, errEvent
		}
		if string(name) == "type" {
			tag, err := d.in.Str()
			if err != nil {
				return 0, errEvent
			}
			return kindOf(tag), nil
		}
		if d.in.Skip() != nil {
			return 0, errEvent
		}
	}
	return 0, errEvent
}

func kindOf(tag []byte) Kind {
	switch string(tag) {
	case "BlockStored":
		return Stored
	case "BlockRemoved":
		return Removed
	case "AllBlocksCleared":
		return Cleared
	}
	return 0
}

// trim releases the payload, and memory that an ordinary batch does not need.
func (d *Decoder) trim() {
	d.in.Reset(nil)
	d.event, d.raw = Event{}, fields{}
	if cap(d.hashes) > keptElements {
		d.hashes = nil
	}
	if cap(d.tokens) > keptElements {
		d.tokens = nil
	}
	if cap(d.extra) > keptElements {
		d.extra = nil
	}
}
