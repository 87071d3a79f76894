// SPDX-License-Identifier: Apache-2.0

package prompt

import (
	"bytes"
	"strings"
	"testing"
)

// pictureBody is a chat request with an image in it.
func pictureBody(data string) []byte {
	return []byte(`{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"What is this?"},` +
		`{"type":"image_url","image_url":{"url":"data:image/png;base64,` + data + `"}}]}]}`)
}

// renderPicture returns the rendition of a chat request and its media.
func renderPicture(t *testing.T, body []byte) (stream []byte, media int) {
	t.Helper()
	var d Document
	if err := d.Parse(Chat, body); err != nil {
		t.Fatal(err)
	}
	d.Render(func(_ int32, chunk []byte) bool {
		stream = append(stream, chunk...)
		return true
	})
	return stream, d.Media
}

func TestMediaIsRenderedAsADigest(t *testing.T) {
	data := strings.Repeat("iVBO/w0K", 50_000)
	stream, media := renderPicture(t, pictureBody(data))
	if media != 1 || len(stream) > 500 || bytes.Contains(stream, []byte("iVBO/w0K")) {
		t.Fatalf("%d media, %d bytes of rendition for an image of %d", media, len(stream), len(data))
	}
	escaped, _ := renderPicture(t, pictureBody(strings.ReplaceAll(data, "/", `\/`)))
	if !bytes.Equal(stream, escaped) {
		t.Fatal("escaped slashes change the rendition of an image")
	}
	other, _ := renderPicture(t, pictureBody("A"+data[1:]))
	if bytes.Equal(stream, other) {
		t.Fatal("two images have the same rendition")
	}
	small, media := renderPicture(t, pictureBody("iVBO"))
	if media != 0 || !bytes.Contains(small, []byte("iVBO")) {
		t.Fatal("a short string is rendered as a digest")
	}
	if text, media := renderPicture(t, []byte(`{"model":"m","messages":[{"role":"user","content":"`+data+`"}]}`)); media != 0 || !bytes.Contains(text, []byte(data)) {
		t.Fatal("text that looks like base64 is rendered as a digest")
	}
}

func TestMediaAllocatesNothing(t *testing.T) {
	body := pictureBody(strings.Repeat(`iVBO\/w0K`, 5000))
	var d Document
	if err := d.Parse(Chat, body); err != nil {
		t.Fatal(err)
	}
	size := 0
	yield := func(_ int32, chunk []byte) bool { size += len(chunk); return true }
	d.Render(yield)
	if n := testing.AllocsPerRun(20, func() { d.Render(yield) }); n != 0 || size == 0 {
		t.Fatalf("%v allocations, %d bytes", n, size)
	}
}
