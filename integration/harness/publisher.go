// SPDX-License-Identifier: Apache-2.0

package harness

import "encoding/binary"

// The first bytes of a ZMTP 3.0 publisher on a connection.
var (
	ZMTPGreeting = append([]byte("\xff\x00\x00\x00\x00\x00\x00\x00\x00\x7f\x03\x00NULL"), make([]byte, 48)...)
	ZMTPReady    = []byte("\x04\x26\x05READY\x0bSocket-Type\x00\x00\x00\x03PUB\x08Identity\x00\x00\x00\x00")
)

// BatchFrames returns the ZMTP frames of one message of the live stream.
func BatchFrames(seq uint64, payload []byte) []byte {
	frames := append([]byte{1, 0, 1, 8}, binary.BigEndian.AppendUint64(nil, seq)...)
	frames = binary.BigEndian.AppendUint64(append(frames, 2), uint64(len(payload)))
	return append(frames, payload...)
}
