// SPDX-License-Identifier: Apache-2.0

package zmtp

import "time"

// Subscribe asks a publisher for the messages whose first frame starts with topic;
// empty means all. It takes effect later: messages until then may be missed. Only
// a SUB can subscribe.
func (c *Conn) Subscribe(topic []byte) error {
	if c.socket != SUB || len(topic) > c.options.MaxFrame-1 {
		return ErrUse
	}
	c.sending.Lock()
	defer c.sending.Unlock()
	c.out = appendFrame(c.out[:0], 0, []byte{1}, topic)
	return c.writeOut()
}

// Send sends a message of one frame for each part. It waits for WriteTimeout at
// most; then the connection ends with ErrStalled. Only a DEALER can send.
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

// write sends encoded frames.
func (c *Conn) write(p []byte) error {
	c.sending.Lock()
	defer c.sending.Unlock()
	return c.writeLocked(p)
}

// writeOut sends the scratch buffer and releases a large one.
func (c *Conn) writeOut() error {
	err := c.writeLocked(c.out)
	if cap(c.out) > bufferSize {
		c.out = nil
	}
	return err
}

// writeLocked writes; sending must be locked. An error ends the connection, since a
// frame may have been sent in part.
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
