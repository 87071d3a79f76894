// SPDX-License-Identifier: Apache-2.0

package janitor

import (
	"cmp"
	"context"
	"slices"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/bauxite/caddy-kvaware/internal/prompt"
	"github.com/bauxite/caddy-kvaware/internal/sensitive"
	"github.com/bauxite/caddy-kvaware/janitor/pii"
)

// redacted replaces values in redact mode.
var redacted = []byte("[REDACTED]")

// footprintFloor is the number of bytes of a document, or of a finder, that do
// not count: the scratch memory of usual requests is pooled.
const footprintFloor = 64 << 10

var documents = sync.Pool{New: func() any { return new(prompt.Document) }}

func releaseDocument(d *prompt.Document) {
	small := d.MemorySize() < maxPooled
	d.Reset()
	if small {
		documents.Put(d)
	}
}

// parse parses the body according to the request's API, and finds the engine
// members to take out of it.
func (x *Exchange) parse(ctx context.Context, body []byte, take prompt.EngineMembers) error {
	x.doc = documents.Get().(*prompt.Document)
	if err := x.doc.ParseWithout(x.api, body, take); err != nil {
		return err
	}
	x.model, x.stream, x.priority, x.continues = x.doc.Model, x.doc.Stream, x.doc.Priority, x.doc.Continues
	if x.doc.PreviousResponse != "" {
		x.stored = x.doc.PreviousResponse
	}
	if n := x.doc.MemorySize(); n > footprintFloor {
		return x.lease.Grow(ctx, int64(n))
	}
	return nil
}

// scrub replaces the values that must not reach the engine. Afterwards x holds
// the body to forward and the rendition to sign. A body without findings and
// engine members is forwarded as it is: the same slice, and nothing is allocated.
func (h *Handler) scrub(ctx context.Context, x *Exchange) *refusal {
	f := finders.Get().(*finder)
	defer f.release()
	whole := f.run(h.scanner, x.doc)
	x.findings = h.count(f)
	if !whole {
		return refuseFindings
	}
	if n := f.footprint(); n > footprintFloor {
		if err := x.lease.Grow(ctx, n); err != nil {
			return refusalOf(err)
		}
		defer x.lease.Shrink(n)
	}
	if len(f.found) == 0 && len(x.doc.Taken) == 0 {
		x.body, x.places = x.doc.Body, membersOf(x.doc)
		return nil
	}
	signable, refused := h.refuseByMode(f, x.doc)
	if refused != nil {
		return refused
	}
	forward, hidden := h.edits(x, f)
	if err := x.splice(ctx, forward, hidden); err != nil {
		return refusalOf(err)
	}
	if !signable {
		x.doc.Segments = x.doc.Segments[:0]
	}
	return nil
}

// count adds the findings to the metrics and returns their number.
func (h *Handler) count(f *finder) (n int) {
	for i := range f.found {
		if c := &f.found[i]; !c.continued {
			h.counter(c.entity).Inc()
			n++
		}
	}
	return n
}

// counter returns the counter of an entity.
func (h *Handler) counter(e pii.Entity) prometheus.Counter {
	if c, ok := h.counters[e]; ok {
		return c
	}
	return findingsTotal.WithLabelValues(string(e))
}

// refuseByMode refuses the request if the mode of a finding does. A key of an
// object cannot be replaced. In detect mode the request passes nevertheless, but
// must not be signed: its rendition would contain the value.
func (h *Handler) refuseByMode(f *finder, d *prompt.Document) (signable bool, refused *refusal) {
	signable = true
	for i := range f.found {
		c := &f.found[i]
		switch m := h.modeOf(c.entity); {
		case m == modeBlock:
			return false, refuseBlocked
		case !d.Texts[c.text].Key:
		case m == modeDetect:
			signable = false
		default:
			refused = refuseKey
		}
	}
	return signable, refused
}

// edits returns the changes to the body, in body order: forward for the engine
// and the rendition, hidden only for the rendition.
func (h *Handler) edits(x *Exchange, f *finder) (forward, hidden []prompt.Edit) {
	m := replacer{h: h, x: x, f: f}
	m.run()
	m.forward = append(m.forward, removals(x.doc)...)
	for _, edits := range [][]prompt.Edit{m.forward, m.hidden} {
		slices.SortFunc(edits, func(a, b prompt.Edit) int { return cmp.Compare(a.Start, b.Start) })
	}
	return m.forward, m.hidden
}

// replacer goes through the findings in render order and asks the vault for
// placeholders. It shows the vault the text in between.
type replacer struct {
	h               *Handler
	x               *Exchange
	f               *finder
	forward, hidden []prompt.Edit
	next            int // findings
}

func (m *replacer) run() {
	placed := false
	for i := range m.f.found {
		if e := m.f.found[i].entity; m.h.modeOf(e) == modePlaceholder {
			if !placed {
				m.x.vault = newVault(m.h.placeholderKey())
				placed = true
			}
			m.x.vault.expect(e)
		}
	}
	if !placed {
		for range m.f.found {
			m.replace()
		}
		return
	}
	for i := int32(0); m.next < len(m.f.found); i++ {
		m.text(i)
	}
}

// text replaces the findings of text i and shows the vault the rest of it.
func (m *replacer) text(i int32) {
	d := m.x.doc
	m.x.vault.startItem(d.Texts[i].Item)
	piece := int32(0)
	for t := m.f.cursor.Open(d.Body, d.Texts[i]); t != nil; t = m.f.cursor.Next() {
		at := 0
		for m.next < len(m.f.found) {
			c := &m.f.found[m.next]
			if c.text != i || c.piece != piece {
				break
			}
			m.x.vault.noteText(t.Bytes[at:c.at])
			at = c.atEnd
			m.replace()
		}
		m.x.vault.noteText(t.Bytes[at:])
		piece++
	}
}

// replace adds the edit of the next finding.
func (m *replacer) replace() {
	c := &m.f.found[m.next]
	m.next++
	e := prompt.Edit{Start: c.start, End: c.end}
	switch m.h.modeOf(c.entity) {
	case modeDetect:
		if m.x.doc.Texts[c.text].Key {
			return // the request is not signed, so the rendition may keep it
		}
		if !c.continued {
			e.New = redacted
		}
		m.hidden = append(m.hidden, e)
		return
	case modeRedact:
		e.New = redacted
	default:
		e.New = m.x.vault.placeholder(c.entity, m.f.values[c.value.start:c.value.end])
	}
	if c.continued {
		e.New = nil
	}
	m.forward = append(m.forward, e)
}

// splice makes the body to forward, and the rendition where it differs.
func (x *Exchange) splice(ctx context.Context, forward, hidden []prompt.Edit) error {
	original := x.doc.Body
	if x.vault != nil {
		x.vault.seal(x.restorable)
		if err := x.lease.Grow(ctx, x.vault.size()); err != nil {
			return err
		}
	}
	if err := x.lease.Grow(ctx, grownSize(original, forward)); err != nil {
		return err
	}
	x.body = x.doc.Splice(forward, nil)
	x.places = membersOf(x.doc)
	if len(forward) > 0 {
		// The original is not needed any more.
		sensitive.Wipe(original)
		x.lease.Shrink(int64(cap(original)))
	}
	x.renditionDiffers = len(hidden) > 0
	shift(hidden, forward)
	if err := x.lease.Grow(ctx, grownSize(x.body, hidden)); err != nil {
		return err
	}
	x.doc.Splice(hidden, nil)
	return nil
}

// grownSize returns the size of the copy that splicing makes.
func grownSize(body []byte, edits []prompt.Edit) int64 {
	if len(edits) == 0 {
		return 0
	}
	size := len(body)
	for _, e := range edits {
		size += len(e.New) - (e.End - e.Start)
	}
	return int64(size)
}

// shift moves edits to their places after made was applied.
func shift(edits, made []prompt.Edit) {
	delta := 0
	for i := range edits {
		for len(made) > 0 && made[0].Start < edits[i].Start {
			delta += len(made[0].New) - (made[0].End - made[0].Start)
			made = made[1:]
		}
		edits[i].Start += delta
		edits[i].End += delta
	}
}

// mode is the treatment of a finding.
type mode uint8

const (
	modePlaceholder mode = iota
	modeRedact
	modeBlock
	modeDetect
)

var modeNames = [...]string{"placeholder", "redact", "block", "detect"}

func parseMode(name string) (mode, bool) {
	i := slices.Index(modeNames[:], name)
	return mode(max(i, 0)), i >= 0
}

// modeOf returns the mode of an entity.
func (h *Handler) modeOf(e pii.Entity) mode {
	if m, ok := h.entityModes[e]; ok {
		return m
	}
	return h.mode
}
