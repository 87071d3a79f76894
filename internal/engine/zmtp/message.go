// SPDX-License-Identifier: Apache-2.0

package zmtp

const (
	// keepBuffer bounds a message's memory that is reused for the next one, in
	// bytes. It is released too when the peer falls silent.
	keepBuffer = 1 << 20
	// firstBuffer is the first size of a message's memory, in bytes.
	firstBuffer = 2048
)

// Message is a received message. The zero Message is ready to be received into.
type Message struct {
	// Parts are the frames. They are valid until the next Receive into the
	// same Message, which reuses their memory.
	Parts [][]byte
	bytes []byte // memory of Parts
}

// assembly is a message that has arrived in part.
type assembly struct {
	bytes   []byte // the bodies of its frames, one after the other
	ends    []int  // of whole frames in bytes
	inFrame bool   // bytes ends inside a frame
	more    bool   // a further frame follows that one
	left    int    // bytes of the frame that have not arrived
}

// underWay reports whether any part of a message has arrived.
func (a *assembly) underWay() bool { return a.inFrame || len(a.ends) > 0 }

// begin starts a frame, if it keeps the limits.
func (a *assembly) begin(h header, o *Options) error {
	switch {
	case len(a.ends) >= o.MaxParts:
		return ErrTooManyParts
	case h.size > uint64(o.MaxFrame) || h.size > uint64(o.MaxMessage-len(a.bytes)):
		return ErrTooLarge
	}
	a.inFrame, a.more, a.left = true, h.more, int(h.size)
	return nil
}

// add notes that n bytes of the frame were written to room.
func (a *assembly) add(n int) {
	a.bytes = a.bytes[:len(a.bytes)+n]
	a.left -= n
}

// end ends the frame when it is whole, and reports whether the message is.
func (a *assembly) end() (whole bool) {
	if !a.inFrame || a.left > 0 {
		return false
	}
	a.inFrame = false
	a.ends = append(a.ends, len(a.bytes))
	return !a.more
}

// room returns memory for further bytes of the frame, at least one. It doubles with
// the bytes that have arrived, not with the announced size.
func (a *assembly) room(b *Budget) ([]byte, error) {
	if len(a.bytes) == cap(a.bytes) {
		size := min(max(firstBuffer, 2*len(a.bytes)), len(a.bytes)+a.left)
		if !b.take(size) {
			return nil, ErrMemory
		}
		grown := make([]byte, len(a.bytes), size)
		copy(grown, a.bytes)
		b.give(cap(a.bytes))
		a.bytes = grown
	}
	return a.bytes[len(a.bytes):min(cap(a.bytes), len(a.bytes)+a.left)], nil
}

// reuse takes the memory of a message that the caller does not need any more.
func (a *assembly) reuse(m *Message, b *Budget) {
	clear(m.Parts)
	m.Parts = m.Parts[:0]
	if size := cap(m.bytes); !a.underWay() && size > cap(a.bytes) && size <= keepBuffer && b.take(size) {
		b.give(cap(a.bytes))
		a.bytes = m.bytes[:0]
	}
	m.bytes = nil
}

// handOver moves the whole message to m, with its memory.
func (a *assembly) handOver(m *Message, b *Budget) {
	start := 0
	for _, end := range a.ends {
		m.Parts = append(m.Parts, a.bytes[start:end:end])
		start = end
	}
	m.bytes = a.bytes
	b.give(cap(a.bytes))
	a.bytes, a.ends = nil, a.ends[:0]
}

// release releases all memory.
func (a *assembly) release(b *Budget) {
	b.give(cap(a.bytes))
	*a = assembly{}
}
