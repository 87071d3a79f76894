// SPDX-License-Identifier: Apache-2.0

package prompt

import (
	"strings"
	"testing"
)

// A document and a cursor that were used before allocate nothing.
func TestNoAllocations(t *testing.T) {
	for name, c := range map[string]struct {
		api  API
		body []byte
	}{
		"chat":     {Chat, chatBody(128 << 10)},
		"tools":    {Chat, toolBody(64 << 10)},
		"code":     {Chat, codeBody(64 << 10)},
		"deep":     {Chat, deepBody(64 << 10)},
		"keys":     {Chat, keysBody(1000)},
		"escaped":  {Chat, []byte(`{"m\u006fdel":"a\u0062","messages":[{"r\u006fle":"us\u0065r","c\u006fntent":"x\n"}],"a\u0062":1}`)},
		"prompt":   {Completions, []byte(`{"model":"m","prompt":"` + strings.Repeat("x", 9000) + `"}`)},
		"messages": {Messages, []byte(`{"system":"s","messages":[{"role":"user","content":[{"type":"text","text":"x"}]}]}`)},
		"inputs":   {Embeddings, []byte(`{"input":["a","b","c"]}`)},
		"other":    {Other, []byte(`{"a":["b",{"c":"data:image/png;base64,AAAA"}]}`)},
		"refused":  {Chat, []byte(`{"messages":[{"role":1}]}`)},
	} {
		t.Run(name, func(t *testing.T) {
			var d Document
			var cur Cursor
			size := 0
			yield := func(_ int32, chunk []byte) bool { size += len(chunk); return true }
			run := func() {
				if d.Parse(c.api, c.body) != nil {
					return
				}
				for _, text := range d.Texts {
					for x := cur.Open(d.Body, text); x != nil; x = cur.Next() {
						size += len(x.Bytes)
					}
				}
				d.Splice(nil, nil)
				d.Render(yield)
			}
			run()
			if n := testing.AllocsPerRun(50, run); n != 0 {
				t.Errorf("%v allocations", n)
			}
			if size == 0 && name != "refused" {
				t.Error("no bytes were read")
			}
		})
	}
}

func TestNestedAllocatesNothing(t *testing.T) {
	body := []byte(`{"messages":[{"role":"assistant","tool_calls":[{"function":{"name":"f","arguments":` +
		quote(`{"a":"x\ny","b":["z",{"a b":"data:image/png;base64,AAAA"}]}`) + `}}]}]}`)
	d := parsed(t, Chat, string(body))
	var cur Cursor
	n := 0
	run := func() {
		for _, text := range d.Texts {
			for x := cur.Open(d.Body, text); x != nil; x = cur.Next() {
				s, e := x.Span(0, len(x.Bytes))
				n += e - s
			}
		}
	}
	run()
	if allocs := testing.AllocsPerRun(50, run); allocs != 0 || n == 0 {
		t.Errorf("%v allocations, %d bytes", allocs, n)
	}
}

// A splice into new memory allocates once.
func TestSpliceAllocatesOnce(t *testing.T) {
	body := chatBody(16 << 10)
	edits := []Edit{{100, 110, []byte("[EMAIL_1]")}, {200, 220, []byte("[EMAIL_2]")}}
	if n := testing.AllocsPerRun(50, func() { Splice(body, edits, nil) }); n != 1 {
		t.Errorf("%v allocations", n)
	}
	dst := make([]byte, 0, len(body))
	if n := testing.AllocsPerRun(50, func() { Splice(body, edits, dst) }); n != 0 {
		t.Errorf("%v allocations into given memory", n)
	}
}
