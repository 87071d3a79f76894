// SPDX-License-Identifier: Apache-2.0

package zmtp

import "time"

// Receive waits for the next message and puts it into m, whose memory it reuses.
// While it waits, it sends and answers heartbeats, and detects a silent or slow
// peer.
func (c *Conn) Receive(m *Message) error { return c.ReceiveUntil(m, time.Time{}) }

// ReceiveUntil is Receive with a deadline, after which it returns ErrDeadline. A
// message that has arrived in part is kept for the next call. The zero time means
// no deadline.
func (c *Conn) ReceiveUntil(m *Message, deadline time.Time) error {
	c.receiving.Lock()
	defer c.receiving.Unlock()
	if err := c.failed(); err != nil {
		return err
	}
	c.until = deadline
	c.next.reuse(m, c.options.Budget)
	for {
		whole, err := c.advance()
		switch {
		case err == ErrDeadline:
			return err
		case err != nil:
			err = c.fail(err)
			c.next.release(c.options.Budget)
			return err
		case whole:
			c.heartbeat.messageTime = 0
			c.next.handOver(m, c.options.Budget)
			return nil
		}
	}
}

// advance handles one header, one command or some of a frame's body.
func (c *Conn) advance() (whole bool, err error) {
	if c.next.inFrame {
		return c.body()
	}
	h, err := c.header()
	if err != nil {
		return false, err
	}
	if h.command {
		return false, c.command(h)
	}
	c.r += h.length
	if err := c.next.begin(h, &c.options); err != nil {
		return false, err
	}
	return c.next.end(), nil // an empty frame is whole
}

// header waits for a frame's header, and leaves it in the buffer.
func (c *Conn) header() (header, error) {
	for {
		h, ok, err := parseHeader(c.in[c.r:c.w])
		if ok || err != nil {
			return h, err
		}
		if err := c.fill(); err != nil {
			return h, err
		}
	}
}

// body takes some of a frame from the buffer, or reads it. Long frames do not go
// through the buffer.
func (c *Conn) body() (whole bool, err error) {
	room, err := c.next.room(c.options.Budget)
	if err != nil {
		return false, err
	}
	var n int
	switch {
	case c.r < c.w:
		n = copy(room, c.in[c.r:c.w])
		c.r += n
	case c.next.left >= bufferSize:
		if n, err = c.read(room); err != nil {
			return false, err
		}
	default:
		return false, c.fill()
	}
	c.next.add(n)
	return c.next.end(), nil
}

// fill reads into the rest of the buffer.
func (c *Conn) fill() error {
	c.compact()
	n, err := c.read(c.in[c.w:])
	c.w += n
	return err
}

// read waits for bytes from the peer. It returns at least one, or an error.
func (c *Conn) read(p []byte) (int, error) {
	for {
		underWay := c.r < c.w || c.next.underWay()
		start := time.Now()
		c.setDeadline(start, underWay)
		n, err := c.conn.Read(p)
		now := time.Now()
		c.heartbeat.waited(now.Sub(start), n > 0, underWay)
		switch {
		case n > 0:
			return n, nil
		case err == nil:
			continue
		case !isTimeout(err):
			return 0, c.endError(err)
		}
		if err := c.handleTimeout(now, underWay); err != nil {
			return 0, err
		}
	}
}

// setDeadline sets the time at which handleTimeout is due.
func (c *Conn) setDeadline(now time.Time, underWay bool) {
	deadline := c.until
	if wait, forever := c.heartbeat.wait(&c.options, underWay, len(c.next.bytes)); !forever {
		if d := now.Add(wait); deadline.IsZero() || d.Before(deadline) {
			deadline = d
		}
	}
	_ = c.conn.SetReadDeadline(deadline)
}

// handleTimeout sends a PING, or ends the wait, when Read has waited long enough.
func (c *Conn) handleTimeout(now time.Time, underWay bool) error {
	due, err := c.heartbeat.timeout(&c.options, underWay, len(c.next.bytes))
	if err != nil {
		return err
	}
	if !underWay && c.heartbeat.quiet >= c.options.Ping {
		c.next.release(c.options.Budget)
	}
	if due {
		if err := c.write(ping); err != nil {
			return err
		}
	}
	if !c.until.IsZero() && !now.Before(c.until) {
		return ErrDeadline
	}
	return nil
}

// command waits for the rest of a command, and obeys it. Commands may come between
// the frames of a message. Unknown ones are ignored.
func (c *Conn) command(h header) error {
	if h.size > maxCommand {
		return ErrTooLarge
	}
	for c.w-c.r < h.length+int(h.size) {
		if err := c.fill(); err != nil {
			return err
		}
	}
	name, data, ok := splitCommand(c.in[c.r+h.length:][:h.size])
	if !ok {
		return ErrMalformed
	}
	c.r += h.length + int(h.size)
	if !c.next.underWay() {
		c.heartbeat.messageTime = 0
	}
	if err := c.heartbeat.count(&c.options); err != nil {
		return err
	}
	switch string(name) {
	case "PING":
		return c.answer(data)
	case "PONG":
		c.heartbeat.gotPong = true
	case "ERROR":
		return ErrRejected
	}
	return nil
}

// answer answers a PING with its context, the bytes after its time to live.
func (c *Conn) answer(data []byte) error {
	if len(data) < 2 || len(data) > 2+maxContext {
		return ErrMalformed
	}
	pong := append(c.pong[:0], flagCommand, byte(5+len(data)-2), 4, 'P', 'O', 'N', 'G')
	return c.write(append(pong, data[2:]...))
}

// endError returns the fixed error for the end of a connection.
func (c *Conn) endError(err error) error {
	if isEnd(err) && !c.heartbeat.received && c.heartbeat.quiet < mismatchWait {
		return ErrWrongPort
	}
	return ErrEnded
}
