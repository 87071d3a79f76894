// SPDX-License-Identifier: Apache-2.0

package zmtp

import "time"

// Subscribe asks a publisher for the messages whose first frame starts with
// topic; empty means all. It takes effect some time later, so what is published
// until then may be missed. Only a SUB can.
func (c *Conn) Subscribe(topic []byte) error {
	if c.socket != SUB || len(topic) > c.options.MaxFrame-1 {
		return ErrUse
	}
	c.sending.Lock()
	defer c.sending.Unlock()
	c.out = appendFrame(c.out[:0], 0, []byte{1}, topic)
	return c.writeOut()
}

// Send sends a message of one frame for each part. Only a DEALER can. It waits
// for WriteTimeout at most; a peer that has not taken in the message until then
// ends the connection with ErrStalled.
func (c *Conn) Send(parts ...[]byte) error {
	size := 0
	for _, p := range parts {
		if len(p) > c.options.MaxFrame {
			return ErrUse
		}
		size += len(p)
	}
	if c.socket != DEALER || len(parts) == 0 || len(parts) > c.options.MaxParts || size > c.options.MaxMessage {
		return ErrUse
	}
	c.sending.Lock()
	defer c.sending.Unlock()
	c.out = c.out[:0]
	for i, p := range parts {
		flags := byte(flagMore)
		if i == len(parts)-1 {
			flags = 0
		}
		c.out = appendFrame(c.out, flags, p)
	}
	return c.writeOut()
}

// write sends bytes that are frames already.
func (c *Conn) write(p []byte) error {
	c.sending.Lock()
	defer c.sending.Unlock()
	return c.writeLocked(p)
}

// writeOut sends the scratch buffer and lets a big one go.
func (c *Conn) writeOut() error {
	err := c.writeLocked(c.out)
	if cap(c.out) > bufferSize {
		c.out = nil
	}
	return err
}

// writeLocked writes under sending. After an error a frame may have gone out
// in part, so nothing can follow it.
func (c *Conn) writeLocked(p []byte) error {
	if err := c.failed(); err != nil {
		return err
	}
	_ = c.conn.SetWriteDeadline(time.Now().Add(c.options.WriteTimeout))
	if _, err := c.conn.Write(p); err != nil {
		if isTimeout(err) {
			return c.fail(ErrStalled)
		}
		return c.fail(ErrEnded)
	}
	return nil
}
