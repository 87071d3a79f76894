// SPDX-License-Identifier: Apache-2.0

package zmtp

import (
	"encoding/binary"
	"strings"
)

const (
	// maxCommand bounds the body of a command, in bytes. READY, the largest,
	// has two or three short properties.
	maxCommand = bufferSize - maxHeader
	// maxContext bounds the context of a PING, in bytes, by ZMTP 3.1.
	maxContext = 16
	// maxProperties bounds the properties of a READY.
	maxProperties = 32
)

// readyCommand returns our READY as it goes on the wire. A DEALER sends its
// identity; for an empty one the ROUTER makes one up.
func readyCommand(s Socket) []byte {
	body := []byte("\x05READY")
	body = appendProperty(body, "Socket-Type", string(s))
	if s == DEALER {
		body = appendProperty(body, "Identity", "")
	}
	return append([]byte{flagCommand, byte(len(body))}, body...)
}

func appendProperty(to []byte, name, value string) []byte {
	to = append(append(to, byte(len(name))), name...)
	to = binary.BigEndian.AppendUint32(to, uint32(len(value)))
	return append(to, value...)
}

// splitCommand splits the body of a command into its name and data.
func splitCommand(body []byte) (name, data []byte, ok bool) {
	if len(body) == 0 {
		return nil, nil, false
	}
	n := 1 + int(body[0])
	if n == 1 || n > len(body) {
		return nil, nil, false
	}
	return body[1:n], body[n:], true
}

// socketType returns the socket type in a READY's data. By the specification, names
// of properties are compared without regard to case.
func socketType(data []byte) (kind string, err error) {
	found := false
	for n := 0; len(data) > 0; n++ {
		name, value, rest, ok := cutProperty(data)
		if !ok || n == maxProperties {
			return "", ErrMalformed
		}
		if strings.EqualFold(string(name), "Socket-Type") {
			if found {
				return "", ErrMalformed
			}
			found, kind = true, string(value)
		}
		data = rest
	}
	if !found {
		return "", ErrMalformed
	}
	return kind, nil
}

// cutProperty cuts the first property off a READY's data.
func cutProperty(data []byte) (name, value, rest []byte, ok bool) {
	n := int(data[0])
	if n == 0 || len(data) < 1+n+4 {
		return nil, nil, nil, false
	}
	name, data = data[1:1+n], data[1+n:]
	size := binary.BigEndian.Uint32(data)
	data = data[4:]
	if uint64(size) > uint64(len(data)) {
		return nil, nil, nil, false
	}
	return name, data[:size], data[size:], true
}
