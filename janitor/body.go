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

// A body's buffer begins with firstBuffer bytes and doubles up to
// doubleBuffer, then grows by a half. The announced length is believed once
// one part in trust of it has come: who announces much and sends little gets
// little.
const (
	bufferFirst    = 8 << 10
	bufferDoubling = 1 << 20
	announcedTrust = 4
	// probe is the room that is left for finding out that nothing follows.
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

// fill reads to the end, at most MaxSize bytes. announced is -1 when unknown.
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

// nextBuffer is how large a buffer follows one of old bytes.
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

// growBody moves a full buffer to a larger one. Both are counted while both
// are there.
func growBody(ctx context.Context, b []byte, announced int64, l *admission.Lease) ([]byte, error) {
	old := int64(cap(b))
	size := nextBuffer(old, announced)
	if err := l.Grow(ctx, size); err != nil {
		return nil, err
	}
	grown := sensitive.Make("body", len(b), int(size))
	copy(grown, b)
	sensitive.Wipe(b) // nothing of a prompt is left to the garbage collector
	l.Shrink(old)
	return grown, nil
}

// hasBody tells whether a request may have a body.
func hasBody(r *http.Request) bool {
	return r.Body != nil && r.Body != http.NoBody && r.ContentLength != 0
}

// dropH2C takes away the offer to go on in HTTP/2 over clear text, which some
// clients send with every request. It may be ignored (RFC 9110 section 7.8),
// and an engine that took it up would make a tunnel of the connection.
func dropH2C(r *http.Request) {
	if u := r.Header["Upgrade"]; len(u) == 1 && strings.EqualFold(strings.TrimSpace(u[0]), "h2c") {
		r.Header.Del("Upgrade")
		r.Header.Del("Http2-Settings")
		r.Header.Del("Connection")
	}
}

// isUpgrade tells whether a request asks for a connection that is no HTTP
// exchange: an upgrade (RFC 9110 section 7.8) or a CONNECT, extended ones too.
func isUpgrade(r *http.Request) bool {
	return r.Method == http.MethodConnect || len(r.Header["Upgrade"]) > 0
}

// looksLikeJSON tells from the first byte whether a body is meant as a JSON
// object, list or string. Numbers and words that stand alone hold no text.
func looksLikeJSON(body []byte) bool {
	body = bytes.TrimLeft(body, " \t\r\n")
	return len(body) > 0 && (body[0] == '{' || body[0] == '[' || body[0] == '"')
}
