// SPDX-License-Identifier: Apache-2.0

package enginesim

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

// The publishing side of ZMTP 3 (https://rfc.zeromq.org/spec/23/ and 37) with
// the NULL mechanism, as far as a publisher of KV events needs it.
const (
	zmtpMore    = 1 << 0
	zmtpLong    = 1 << 1
	zmtpCommand = 1 << 2

	zmtpParts        = 8       // limit of the parts of a peer's message
	zmtpFrame        = 1 << 16 // limit of a peer's frame (subscription or request) in bytes
	zmtpHandshakeFor = 10 * time.Second
)

var errZMTP = errors.New("enginesim: the peer does not speak ZMTP 3 like a subscriber or a dealer")

// zmtpConn is a connection after the handshake. One goroutine may read while
// several write.
type zmtpConn struct {
	net.Conn
	in *bufio.Reader
	mu sync.Mutex // a frame, and a message, is written whole
}

// zmtpHandshake exchanges greetings and READY commands. socket is our type; the
// peer's must be one of peers.
func zmtpHandshake(conn net.Conn, socket string, peers ...string) (*zmtpConn, error) {
	z := &zmtpConn{Conn: conn, in: bufio.NewReader(conn)}
	_ = conn.SetDeadline(time.Now().Add(zmtpHandshakeFor))
	if _, err := conn.Write(zmtpGreeting()); err != nil {
		return nil, err
	}
	var theirs [64]byte
	if _, err := io.ReadFull(z.in, theirs[:]); err != nil {
		return nil, err
	}
	if theirs[0] != 0xff || theirs[9] != 0x7f || theirs[10] < 3 || string(theirs[12:17]) != "NULL\x00" {
		return nil, errZMTP
	}
	if err := z.write(zmtpReady(socket)); err != nil {
		return nil, err
	}
	flags, body, err := z.frame()
	if err != nil {
		return nil, err
	}
	// Like libzmq, complete the handshake before refusing a socket of the wrong
	// type.
	for _, peer := range peers {
		if flags&zmtpCommand != 0 && readySocket(body) == peer {
			return z, conn.SetDeadline(time.Time{})
		}
	}
	return nil, errZMTP
}

func zmtpGreeting() []byte {
	g := make([]byte, 64)
	g[0], g[8], g[9], g[10], g[11] = 0xff, 1, 0x7f, 3, 1
	copy(g[12:], "NULL")
	return g
}

// zmtpReady returns the frame of a READY command.
func zmtpReady(socket string) []byte {
	body := appendProperty([]byte("\x05READY"), "Socket-Type", socket)
	if socket == "ROUTER" {
		body = appendProperty(body, "Identity", "")
	}
	return appendFrame(nil, zmtpCommand, body)
}

func appendProperty(dst []byte, name, value string) []byte {
	dst = append(append(dst, byte(len(name))), name...)
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(value)))
	return append(dst, value...)
}

// readySocket returns the Socket-Type in the body of a READY command, empty
// when there is none.
func readySocket(body []byte) string {
	name, rest := splitCommand(body)
	for name == "READY" && len(rest) > 0 {
		n := int(rest[0])
		if len(rest) < 1+n+4 {
			return ""
		}
		property := string(rest[1 : 1+n])
		size := binary.BigEndian.Uint32(rest[1+n:])
		rest = rest[1+n+4:]
		if uint64(size) > uint64(len(rest)) {
			return ""
		}
		if property == "Socket-Type" {
			return string(rest[:size])
		}
		rest = rest[size:]
	}
	return ""
}

// splitCommand returns the name of a command and what follows it.
func splitCommand(body []byte) (name string, rest []byte) {
	if len(body) == 0 || len(body) < 1+int(body[0]) {
		return "", nil
	}
	end := 1 + int(body[0])
	return string(body[1:end]), body[end:]
}

func appendFrame(dst []byte, flags byte, body []byte) []byte {
	if len(body) < 256 {
		dst = append(dst, flags, byte(len(body)))
	} else {
		dst = append(dst, flags|zmtpLong)
		dst = binary.BigEndian.AppendUint64(dst, uint64(len(body)))
	}
	return append(dst, body...)
}

// encodeMessage returns a message in wire format.
func encodeMessage(parts ...[]byte) []byte {
	size := 0
	for _, p := range parts {
		size += 9 + len(p)
	}
	dst := make([]byte, 0, size)
	for i, p := range parts {
		flags := byte(zmtpMore)
		if i == len(parts)-1 {
			flags = 0
		}
		dst = appendFrame(dst, flags, p)
	}
	return dst
}

func (z *zmtpConn) write(wire []byte) error {
	z.mu.Lock()
	defer z.mu.Unlock()
	_, err := z.Write(wire)
	return err
}

// frame reads one frame.
func (z *zmtpConn) frame() (flags byte, body []byte, err error) {
	if flags, err = z.in.ReadByte(); err != nil {
		return 0, nil, err
	}
	var size [8]byte
	from := 7
	if flags&zmtpLong != 0 {
		from = 0
	}
	if _, err = io.ReadFull(z.in, size[from:]); err != nil {
		return 0, nil, err
	}
	n := binary.BigEndian.Uint64(size[:])
	if n > zmtpFrame {
		return 0, nil, errZMTP
	}
	body = make([]byte, n)
	_, err = io.ReadFull(z.in, body)
	return flags, body, err
}

// receive reads one message, or one command other than PING, which it answers.
func (z *zmtpConn) receive() (command string, parts [][]byte, err error) {
	for {
		flags, body, err := z.frame()
		if err != nil {
			return "", nil, err
		}
		if flags&zmtpCommand == 0 {
			if parts = append(parts, body); len(parts) > zmtpParts {
				return "", nil, errZMTP
			}
			if flags&zmtpMore == 0 {
				return "", parts, nil
			}
			continue
		}
		name, rest := splitCommand(body)
		if name != "PING" {
			return name, [][]byte{rest}, nil
		}
		if len(rest) < 2 { // its time to live
			return "", nil, errZMTP
		}
		if err := z.write(appendFrame(nil, zmtpCommand, append([]byte("\x04PONG"), rest[2:]...))); err != nil {
			return "", nil, err
		}
	}
}
