// SPDX-License-Identifier: Apache-2.0

package janitor

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"strings"

	"github.com/bauxite/caddy-kvaware/internal/admission"
	"github.com/bauxite/caddy-kvaware/internal/sensitive"
)

// A body's buffer starts with bufferFirst bytes, doubles up to bufferDoubling
// and then grows by a half. It gets the announced length once one part in
// announcedTrust of that has arrived: a client that announces much and sends
// little gets little.
const (
	bufferFirst    = 8 << 10
	bufferDoubling = 1 << 20
	announcedTrust = 4
	// endProbe is the room for the read that finds the end of the body.
	endProbe = 512
)

// gather reads the body through its content coding.
func (h *Handler) gather(ctx context.Context, a *arrival, c coding, announced int64, l *admission.Lease) ([]byte, error) {
	if c.open == nil {
		return h.fill(ctx, a, announced, l)
	}
	if err := l.Grow(ctx, c.memory); err != nil {
		return nil, err
	}
	defer l.Shrink(c.memory)
	d := newDecoder(c, a)
	defer d.Close()
	return h.fill(ctx, d, -1, l)
}

// fill reads to the end, at most MaxSize bytes. announced is the expected size,
// -1 when unknown.
func (h *Handler) fill(ctx context.Context, src io.Reader, announced int64, l *admission.Lease) (_ []byte, err error) {
	var b []byte
	defer func() {
		if err != nil {
			sensitive.Wipe(b)
		}
	}()
	for {
		if cap(b)-len(b) == 0 {
			grown, err := growBody(ctx, b, announced, l)
			if err != nil {
				return nil, err
			}
			b = grown
		}
		n, err := src.Read(b[len(b):cap(b)])
		if b = b[:len(b)+n]; int64(len(b)) > h.MaxSize {
			return nil, errTooLarge
		}
		if err == io.EOF {
			return b, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// nextBuffer returns the size of the buffer after one of old bytes.
func nextBuffer(old, announced int64) int64 {
	size := max(bufferFirst, 2*old)
	if old >= bufferDoubling {
		size = old + old/2
	}
	if exact := announced + endProbe; announced >= 0 && exact > old && (exact < size || exact <= announcedTrust*old) {
		size = exact
	}
	return size
}

// growBody moves a full buffer to a larger one. Both count while both exist.
func growBody(ctx context.Context, b []byte, announced int64, l *admission.Lease) ([]byte, error) {
	old := int64(cap(b))
	size := nextBuffer(old, announced)
	if err := l.Grow(ctx, size); err != nil {
		return nil, err
	}
	grown := sensitive.Make("body", len(b), int(size))
	copy(grown, b)
	sensitive.Wipe(b) // the garbage collector gets nothing of a prompt
	l.Shrink(old)
	return grown, nil
}

// hasBody reports whether the request may have a body.
func hasBody(r *http.Request) bool {
	return r.Body != nil && r.Body != http.NoBody && r.ContentLength != 0
}

// dropH2C removes the offer to continue in HTTP/2 over clear text, which some
// clients send with every request. It may be ignored (RFC 9110 section 7.8). An
// engine that accepted it would turn the connection into a tunnel.
func dropH2C(r *http.Request) {
	if u := r.Header["Upgrade"]; len(u) == 1 && strings.EqualFold(strings.TrimSpace(u[0]), "h2c") {
		r.Header.Del("Upgrade")
		r.Header.Del("Http2-Settings")
		r.Header.Del("Connection")
	}
}

// isUpgrade reports whether the request asks for another protocol: an upgrade
// (RFC 9110 section 7.8) or a CONNECT, extended or not.
func isUpgrade(r *http.Request) bool {
	return r.Method == http.MethodConnect || len(r.Header["Upgrade"]) > 0
}

// looksLikeJSON reports whether the first byte starts a JSON object, list or
// string. Other JSON values hold no text.
func looksLikeJSON(body []byte) bool {
	body = bytes.TrimLeft(body, " \t\r\n")
	return len(body) > 0 && (body[0] == '{' || body[0] == '[' || body[0] == '"')
}
