// SPDX-License-Identifier: Apache-2.0

package janitor

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"
)

// compress compresses text as a client does.
func compress(t testing.TB, name, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	var w io.WriteCloser
	var err error
	switch name {
	case "gzip", "x-gzip":
		w = gzip.NewWriter(&b)
	case "deflate":
		w = zlib.NewWriter(&b)
	case "bare deflate":
		w, err = flate.NewWriter(&b, 6)
	case "br":
		w = brotli.NewWriter(&b)
	case "zstd":
		w, err = zstd.NewWriter(&b)
	default:
		t.Fatalf("unknown coding %s", name)
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

var codingNames = []string{"gzip", "x-gzip", "deflate", "bare deflate", "br", "zstd"}

// codingHeader returns the name for Content-Encoding.
func codingHeader(name string) string { return strings.TrimPrefix(name, "bare ") }

func TestCodingOf(t *testing.T) {
	for header, want := range map[string]string{
		"": "identity", "identity": "identity", "GZip": "gzip", " br ": "br", "identity, zstd": "zstd", "gzip,": "gzip",
		"gzip, br": "", "gzip;q=1": "", "compress": "", "aes128gcm": "",
	} {
		c, err := codingOf(http.Header{"Content-Encoding": {header}})
		if want == "" && err != errCoding || want != "" && (err != nil || c.name != want) {
			t.Errorf("%q: %s, %v, want %q", header, c.name, err, want)
		}
	}
	if _, err := codingOf(http.Header{"Content-Encoding": {"gzip", "gzip"}}); err != errCoding {
		t.Errorf("two lines: %v", err)
	}
}

// Each coding is decoded, in whatever pieces it arrives. Data that is cut off,
// damaged or too long is an error.
func TestDecoder(t *testing.T) {
	text := strings.Repeat(chat("write to "+mail), 300)
	for _, name := range codingNames {
		packed := compress(t, name, text)
		c, _ := codingByName(codingHeader(name))
		sources := map[string]io.Reader{
			"whole": bytes.NewReader(packed), "bytes": iotest.OneByteReader(bytes.NewReader(packed)),
			"halves": iotest.HalfReader(bytes.NewReader(packed)), "EOF with data": iotest.DataErrReader(bytes.NewReader(packed)),
		}
		for how, src := range sources {
			if got, err := io.ReadAll(newDecoder(c, src)); err != nil || string(got) != text {
				t.Errorf("%s, %s: %d bytes of %d, %v", name, how, len(got), len(text), err)
			}
		}
		for _, n := range []int{1, 2, len(packed) / 2, len(packed) - 1} {
			if _, err := io.ReadAll(newDecoder(c, bytes.NewReader(packed[:n]))); err != errBroken {
				t.Errorf("%s cut off at %d of %d: %v", name, n, len(packed), err)
			}
		}
		if _, err := io.ReadAll(newDecoder(c, strings.NewReader(string(packed)+"{}"))); err != errBroken {
			t.Errorf("%s with more after its end: %v", name, err)
		}
		if _, err := io.ReadAll(newDecoder(c, io.MultiReader(bytes.NewReader(packed[:9]), errReader{errLate}))); err != errLate {
			t.Errorf("%s from a source that fails: %v", name, err)
		}
		if got, err := io.ReadAll(newDecoder(c, strings.NewReader(text))); err == nil {
			t.Errorf("%s decodes data of another kind: %d bytes", name, len(got))
		}
	}
}

func TestBombs(t *testing.T) {
	for _, name := range codingNames {
		packed := compress(t, name, strings.Repeat(" ", 6<<20))
		c, _ := codingByName(codingHeader(name))
		n, err := io.Copy(io.Discard, newDecoder(c, bytes.NewReader(packed)))
		if err != errRatio || n > 2*maxRatioFloor+maxRatio*4096 {
			t.Errorf("%s: %d bytes from %d, %v", name, n, len(packed), err)
		}
	}
}

// Compressed requests are forwarded decompressed and scrubbed.
func TestCompressedRequests(t *testing.T) {
	for _, name := range codingNames {
		h := newHandler(t, func(h *Handler) { h.MaxSize = 20_000 })
		r := newRequest("POST", chatPath, bytes.NewReader(compress(t, name, chat("to "+mail))))
		r.Header.Set("Content-Encoding", codingHeader(name))
		w, e := serve(t, h, r)
		if w.Code != 200 || string(e.body) != chat("to [EMAIL_1]") || e.header.Get("Content-Encoding") != "" {
			t.Errorf("%s: status %d, forwarded %s, headers %v", name, w.Code, e.body, e.header)
		}
		r = newRequest("POST", chatPath, bytes.NewReader(compress(t, name, chat(strings.Repeat("x", 20_000)))))
		r.Header.Set("Content-Encoding", codingHeader(name))
		if w, e := serve(t, h, r); w.Code != 413 || e.called {
			t.Errorf("%s too large: status %d", name, w.Code)
		}
		r = newRequest("POST", chatPath, strings.NewReader(chat("to "+mail)))
		r.Header.Set("Content-Encoding", codingHeader(name))
		if w, e := serve(t, h, r); w.Code != 400 || e.called {
			t.Errorf("%s with data of another kind: status %d %s", name, w.Code, w.Body)
		}
	}
	for _, pass := range []string{"refuse", "pass"} {
		h := newHandler(t, func(h *Handler) { h.Unknown = pass })
		r := newRequest("POST", chatPath, strings.NewReader(chat("to "+mail)))
		r.Header.Set("Content-Encoding", "compress")
		if w, e := serve(t, h, r); w.Code != 415 || e.called {
			t.Errorf("unknown coding, unknown %s: status %d", pass, w.Code)
		}
	}
}

func FuzzDecoder(f *testing.F) {
	for i, name := range codingNames {
		f.Add(byte(i), compress(f, name, chat("hi")))
	}
	f.Fuzz(func(t *testing.T, which byte, data []byte) {
		c := codings[int(which)%len(codings)]
		n, err := io.Copy(io.Discard, newDecoder(c, bytes.NewReader(data)))
		if err != nil && err != errBroken && err != errRatio {
			t.Fatalf("%s: %v", c.name, err)
		}
		if n > maxRatioFloor+64<<10 && n > (maxRatio+1)*int64(len(data)+4096) {
			t.Fatalf("%s: %d bytes from %d", c.name, n, len(data))
		}
	})
}
