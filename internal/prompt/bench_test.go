// SPDX-License-Identifier: Apache-2.0

package prompt

import (
	"bytes"
	"fmt"
	"hash/maphash"
	"strings"
	"testing"
)

// prose is plain English of about n bytes without anything to escape.
func prose(n int) string {
	const s = "The scheduler keeps one queue per device and admits a request when its blocks fit, " +
		"so a long prompt waits behind short ones only when memory is short; the engine then "
	return strings.Repeat(s, n/len(s)+1)[:n]
}

// chatBody is a clean conversation of about n bytes in 2 KB messages.
func chatBody(n int) []byte {
	var b bytes.Buffer
	b.WriteString(`{"model":"llama-70b","messages":[{"role":"system","content":"You are terse."}`)
	for i := 0; b.Len() < n; i++ {
		role := [...]string{"user", "assistant"}[i%2]
		fmt.Fprintf(&b, `,{"role":%q,"content":%q}`, role, prose(2048))
	}
	b.WriteString(`],"temperature":0.7,"stream":true}`)
	return b.Bytes()
}

// toolBody has hundreds of small schemas, as agents send them.
func toolBody(n int) []byte {
	var b bytes.Buffer
	b.WriteString(`{"model":"m","messages":[{"role":"user","content":"go"}],"tools":[{"type":"function","function":{"name":"nop"}}`)
	for i := 0; b.Len() < n; i++ {
		fmt.Fprintf(&b, `,{"type":"function","function":{"name":"tool_%d","description":"Reads a file and returns its lines.",`+
			`"parameters":{"type":"object","properties":{"path":{"type":"string","description":"Where the file is"},`+
			`"limit":{"type":"integer","minimum":1}},"required":["path"]}}}`, i)
	}
	b.WriteString(`]}`)
	return b.Bytes()
}

// codeBody has source code in it: an escape every 30 bytes or so.
func codeBody(n int) []byte {
	line := `\tif err := run(ctx, \"name\"); err != nil {\n\t\treturn fmt.Errorf(\"run: %w\", err)\n\t}\n`
	return []byte(`{"messages":[{"role":"user","content":"` + strings.Repeat(line, n/len(line)) + `"}]}`)
}

func wrapped(content string) []byte {
	return []byte(`{"messages":[{"role":"user","content":"` + content + `"}]}`)
}

func imageBody(data string) []byte {
	return []byte(`{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:image/png;base64,` + data + `"}}]}]}`)
}

// nestedResults has tool results inside of tool results, and much in the
// innermost one.
func nestedResults(n int) []byte {
	const deep = 200
	return []byte(`{"messages":[{"role":"user","content":[` +
		strings.Repeat(`{"type":"tool_result","content":[`, deep) + strings.Repeat(`"a",`, n/4) + `"a"` + strings.Repeat(`]}`, deep) + `]}]}`)
}

func deepBody(n int) []byte {
	one := strings.Repeat("[", 500) + strings.Repeat("]", 500)
	return []byte(`{"messages":[],"x":[` + strings.TrimSuffix(strings.Repeat(one+",", n/1001+1), ",") + `]}`)
}

func keysBody(n int) []byte {
	var b bytes.Buffer
	b.WriteString(`{"messages":[],"metadata":{"k":0`)
	for i := range n {
		fmt.Fprintf(&b, `,"key%d":1`, i)
	}
	b.WriteString(`}}`)
	return b.Bytes()
}

func BenchmarkParse(b *testing.B) {
	const kb = 1 << 10
	for _, c := range []struct {
		name string
		body []byte
	}{
		{"chat-16K", chatBody(16 * kb)},
		{"chat-128K", chatBody(128 * kb)},
		{"chat-1M", chatBody(1024 * kb)},
		{"tools-64K", toolBody(64 * kb)},
		{"tools-256K", toolBody(256 * kb)},
		{"code-256K", codeBody(256 * kb)},
		{"code-1M", codeBody(1024 * kb)},
		{"cjk-1M", wrapped(strings.Repeat("缓存命中率很高。", 1024*kb/24))},
		{"cyrillic-1M", wrapped(strings.Repeat("кэш попал ", 1024*kb/18))},
		{"deep-256K", deepBody(256 * kb)},
		{"deep-1M", deepBody(1024 * kb)},
		{"backslashes-256K", wrapped(strings.Repeat(`\\`, 128*kb))},
		{"backslashes-1M", wrapped(strings.Repeat(`\\`, 512*kb))},
		{"unicode-escapes-1M", wrapped(strings.Repeat(`\u0041`, 170*kb))},
		{"keys-25k", keysBody(25_000)},
		{"keys-100k", keysBody(100_000)},
		{"image-4M", imageBody(strings.Repeat("iVBORw0KGgo/+AAA", 4096*kb/16))},
		{"tool-results-256K", nestedResults(256 * kb)},
		{"tool-results-1M", nestedResults(1024 * kb)},
		{"numbers-1M", []byte(`{"messages":[],"x":[` + strings.Repeat("123,", 256*kb) + `1]}`)},
	} {
		b.Run(c.name, func(b *testing.B) {
			var d Document
			b.SetBytes(int64(len(c.body)))
			b.ReportAllocs()
			for b.Loop() {
				if err := d.Parse(Chat, c.body); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkRender(b *testing.B) {
	for _, c := range []struct {
		name string
		body []byte
	}{
		{"chat-128K", chatBody(128 << 10)},
		{"tools-256K", toolBody(256 << 10)},
		{"code-256K", codeBody(256 << 10)},
	} {
		b.Run(c.name, func(b *testing.B) {
			var d Document
			if err := d.Parse(Chat, c.body); err != nil {
				b.Fatal(err)
			}
			var h maphash.Hash
			b.SetBytes(int64(len(c.body)))
			b.ReportAllocs()
			yield := func(_ int32, chunk []byte) bool { h.Write(chunk); return true }
			for b.Loop() {
				d.Render(yield)
			}
		})
	}
}

func BenchmarkDecode(b *testing.B) {
	for _, c := range []struct {
		name string
		body []byte
	}{
		{"clean-128K", chatBody(128 << 10)},
		{"code-256K", codeBody(256 << 10)},
		{"code-1M", codeBody(1 << 20)},
		{"backslashes-1M", wrapped(strings.Repeat(`\\`, 1<<19))},
		{"arguments-256K", []byte(`{"messages":[{"role":"assistant","tool_calls":[{"function":{"name":"f","arguments":"{\"code\":\"` +
			strings.Repeat(`if x {\\n\\treturn \\\"a\\\"\\n}`, 8<<10) + `\"}"}}]}]}`)},
	} {
		b.Run(c.name, func(b *testing.B) {
			var d Document
			var cur Cursor
			if err := d.Parse(Chat, c.body); err != nil {
				b.Fatal(err)
			}
			b.SetBytes(int64(len(c.body)))
			b.ReportAllocs()
			for b.Loop() {
				n := 0
				for _, t := range d.Texts {
					for x := cur.Open(d.Body, t); x != nil; x = cur.Next() {
						n += len(x.Bytes)
					}
				}
				if n == 0 {
					b.Fatal("no text")
				}
			}
		})
	}
}

func BenchmarkSplice(b *testing.B) {
	body := chatBody(128 << 10)
	var edits []Edit
	for i := 1000; i+20 < len(body); i += 1000 {
		edits = append(edits, Edit{i, i + 20, []byte("[EMAIL_1]")})
	}
	dst := make([]byte, 0, len(body))
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		dst = Splice(body, edits, dst)
	}
}
