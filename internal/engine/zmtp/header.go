// SPDX-License-Identifier: Apache-2.0

package zmtp

import "encoding/binary"

const (
	flagMore    = 1 << 0 // further frames of the message follow
	flagLong    = 1 << 1 // the size has 8 bytes, not one
	flagCommand = 1 << 2 // not part of a message
	// maxHeader is the size of a long frame's flags and size.
	maxHeader = 9
)

// header is the part of a frame before its body.
type header struct {
	more, command bool
	size          uint64 // of the body, in bytes, as announced
	length        int    // of the header itself
}

// parseHeader reads the header at the start of p; ok is false when it is incomplete.
func parseHeader(p []byte) (h header, ok bool, err error) {
	if len(p) == 0 {
		return h, false, nil
	}
	flags := p[0]
	if flags&^(flagMore|flagLong|flagCommand) != 0 || flags&flagCommand != 0 && flags&flagMore != 0 {
		return h, false, ErrMalformed
	}
	h.more, h.command = flags&flagMore != 0, flags&flagCommand != 0
	switch {
	case flags&flagLong == 0 && len(p) >= 2:
		h.size, h.length = uint64(p[1]), 2
	case flags&flagLong != 0 && len(p) >= maxHeader:
		h.size, h.length = binary.BigEndian.Uint64(p[1:]), maxHeader
	default:
		return h, false, nil
	}
	return h, true, nil
}

// appendFrame appends a frame as it goes on the wire.
func appendFrame(to []byte, flags byte, body ...[]byte) []byte {
	size := 0
	for _, b := range body {
		size += len(b)
	}
	if size > 255 {
		to = binary.BigEndian.AppendUint64(append(to, flags|flagLong), uint64(size))
	} else {
		to = append(to, flags, byte(size))
	}
	for _, b := range body {
		to = append(to, b...)
	}
	return to
}
