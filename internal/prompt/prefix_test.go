// SPDX-License-Identifier: Apache-2.0

package prompt

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"testing"
)

// The model of a request. The order of an object's members has no meaning (free)
// or is the client's data (kept).
type (
	free []member
	kept []member
	list []any
	// atom is a literal or number, written as is.
	atom   string
	member struct {
		key   string
		value any
	}
)

// write writes v as JSON with random white space, escapes and order of free
// members.
func write(r *rand.Rand, b *strings.Builder, v any) {
	space := func() { b.WriteString([...]string{"", "", " ", "\n  "}[r.IntN(4)]) }
	members := func(ms []member) {
		b.WriteByte('{')
		for i, m := range ms {
			if i > 0 {
				b.WriteByte(',')
			}
			space()
			b.WriteString(quoteAtRandom(r, m.key))
			space()
			b.WriteByte(':')
			space()
			write(r, b, m.value)
			space()
		}
		b.WriteByte('}')
	}
	switch v := v.(type) {
	case string:
		b.WriteString(quoteAtRandom(r, v))
	case atom:
		b.WriteString(string(v))
	case list:
		b.WriteByte('[')
		for i, e := range v {
			if i > 0 {
				b.WriteByte(',')
			}
			space()
			write(r, b, e)
			space()
		}
		b.WriteByte(']')
	case kept:
		members(v)
	case free:
		ms := append([]member(nil), v...)
		r.Shuffle(len(ms), func(i, j int) { ms[i], ms[j] = ms[j], ms[i] })
		members(ms)
	default:
		panic("no such JSON")
	}
}

func phrase(r *rand.Rand) string {
	words := [...]string{"mail", "a@b.cc", "\"x\"\n", "déjà", "😀", `c:\d`, "/", "[EMAIL_1]", "4111"}
	var s []string
	for range 1 + r.IntN(6) {
		s = append(s, words[r.IntN(len(words))])
	}
	return strings.Join(s, " ")
}

// spoken returns a text as a string or as the equivalent list of one part.
func spoken(r *rand.Rand, typ, s string) any {
	if r.IntN(2) == 0 {
		return s
	}
	return list{marked(r, free{{"type", typ}, {"text", s}})}
}

// marked adds the cache_control that clients move to the last block of a request.
func marked[T free | kept](r *rand.Rand, block T) T {
	if r.IntN(3) != 0 {
		return block
	}
	at := r.IntN(len(block) + 1)
	mark := member{"cache_control", free{{"type", "ephemeral"}}}
	return append(append(block[:at:at], mark), block[at:]...)
}

// message writes one message. Each call spells the same message in another way.
type message func(r *rand.Rand) any

func chatMessage(r *rand.Rand) message {
	text, more, arguments := phrase(r), phrase(r), `{"q": "`+strings.Trim(quote(phrase(r)), `"`)+`"}`
	switch r.IntN(5) {
	case 0:
		return func(r *rand.Rand) any {
			m := free{{"role", "assistant"}, {"tool_calls", list{free{
				{"id", "call_1"}, {"type", "function"}, {"function", free{{"name", "look_up"}, {"arguments", arguments}}},
			}}}}
			if r.IntN(2) == 0 {
				m = append(m, member{"content", atom("null")})
			}
			return m
		}
	case 1:
		return func(r *rand.Rand) any {
			return free{{"role", "tool"}, {"tool_call_id", "call_1"}, {"content", spoken(r, "text", text)}}
		}
	case 2:
		return func(r *rand.Rand) any {
			return free{{"role", "user"}, {"content", list{
				free{{"type", "text"}, {"text", text}},
				kept{{"type", "image_url"}, {"image_url", kept{{"url", "data:image/png;base64,iVBOR/AA"}}}},
				free{{"type", "text"}, {"text", more}},
			}}}
		}
	}
	role := [...]string{"user", "assistant", "system"}[r.IntN(3)]
	return func(r *rand.Rand) any {
		m := free{{"role", role}, {"content", spoken(r, "text", text)}}
		if role == "assistant" && r.IntN(2) == 0 {
			m = append(m, member{"tool_calls", atom("null")}, member{"id", "msg_1"})
		}
		return m
	}
}

func anthropicMessage(r *rand.Rand) message {
	text, more := phrase(r), phrase(r)
	if r.IntN(3) == 0 {
		return func(r *rand.Rand) any {
			return free{{"role", "assistant"}, {"content", list{
				free{{"type", "thinking"}, {"thinking", text}, {"signature", "c2ln"}},
				marked(r, free{{"type", "tool_use"}, {"id", "toolu_1"}, {"name", "look_up"}, {"input", kept{{"q", more}}}}),
			}}}
		}
	}
	if r.IntN(3) == 0 {
		return func(r *rand.Rand) any {
			return free{{"role", "user"}, {"content", list{
				marked(r, free{{"type", "tool_result"}, {"tool_use_id", "toolu_1"}, {"content", spoken(r, "text", text)}}),
				marked(r, kept{{"type", "image"}, {"source", kept{{"type", "base64"}, {"data", "iVBOR/AA"}}}}),
			}}}
		}
	}
	return func(r *rand.Rand) any { return free{{"role", "user"}, {"content", spoken(r, "text", text)}} }
}

func responsesItem(r *rand.Rand) message {
	text, more := phrase(r), phrase(r)
	switch r.IntN(4) {
	case 0:
		return func(r *rand.Rand) any {
			return free{{"type", "function_call"}, {"call_id", "c"}, {"name", "look_up"}, {"arguments", more}}
		}
	case 1:
		return func(r *rand.Rand) any {
			return free{{"type", "function_call_output"}, {"call_id", "c"}, {"output", text}}
		}
	}
	return func(r *rand.Rand) any { return free{{"role", "user"}, {"content", spoken(r, "input_text", text)}} }
}

// request writes the first n messages as a request of the API.
func request(r *rand.Rand, api API, head free, messages []message, n int) string {
	turns := list{}
	for _, m := range messages[:n] {
		turns = append(turns, m(r))
	}
	where := "messages"
	if api == Responses {
		where = "input"
	}
	body := append(free{{where, turns}, {"model", "m"}, {"stream", atom("true")}}, head...)
	if r.IntN(2) == 0 {
		body = append(body, member{"user", hidden + phrase(r)})
	}
	var b strings.Builder
	write(r, &b, body)
	return b.String()
}

// stream returns the rendition of each message.
func stream(d *Document) (blocks [][]byte) {
	d.Render(func(m int32, chunk []byte) bool {
		for int(m) >= len(blocks) {
			blocks = append(blocks, nil)
		}
		blocks[m] = append(blocks[m], chunk...)
		return true
	})
	return blocks
}

// Turn N+1 of a conversation has turn N as its exact prefix, message by message,
// however the client spells either request. So has the order of the texts.
func TestPrefixStability(t *testing.T) {
	r := rand.New(rand.NewPCG(11, 12))
	apis := []struct {
		api     API
		message func(*rand.Rand) message
		system  string
	}{{Chat, chatMessage, ""}, {Messages, anthropicMessage, "system"}, {Responses, responsesItem, "instructions"}}
	for round := range 1500 {
		a := apis[round%len(apis)]
		var head free
		if r.IntN(2) == 0 {
			head = append(head, member{"tools", list{
				kept{{"name", "look_up"}, {"description", phrase(r)}, {"parameters", kept{{"b", atom("1")}, {"a", atom("2")}}}},
			}})
		}
		if a.system != "" && r.IntN(2) == 0 {
			head = append(head, member{a.system, phrase(r)})
		}
		var messages []message
		for range 2 + r.IntN(5) {
			messages = append(messages, a.message(r))
		}
		n := 1 + r.IntN(len(messages)-1)
		before := parsed(t, a.api, request(r, a.api, head, messages, n))
		after := parsed(t, a.api, request(r, a.api, head, messages, n+1))
		b, c := stream(before), stream(after)
		// A run of leading system messages may continue the last message.
		last := len(b) - 1
		if !bytes.Equal(bytes.Join(b[:last], nil), bytes.Join(c[:last], nil)) || !bytes.HasPrefix(c[last], b[last]) {
			t.Fatalf("the longer conversation does not begin with the shorter:\n%s\n%s\n%q\n%q", before.Body, after.Body, b, c)
		}
		if joined := bytes.Join(c, nil); len(joined) == len(bytes.Join(b, nil)) {
			t.Fatalf("a message has no rendition: %s", after.Body)
		}
		again := parsed(t, a.api, request(r, a.api, head, messages, n))
		if x := stream(again); len(x) != len(b) || !bytes.Equal(bytes.Join(x, nil), bytes.Join(b, nil)) {
			t.Fatalf("the same request in another spelling has another rendition:\n%s\n%s\n%q\n%q", before.Body, again.Body, b, x)
		}
		checkTextOrder(t, before, after, n)
	}
}

// checkTextOrder checks that the texts of the longer prompt begin with those of the
// shorter.
func checkTextOrder(t *testing.T, before, after *Document, n int) {
	t.Helper()
	a, b := promptTexts(t, before), promptTexts(t, after)
	if len(a) > len(b) {
		t.Fatalf("%d texts in %d messages, %d in one more", len(a), n, len(b))
	}
	for i := range a {
		if a[i] != b[i] {
			t.Fatalf("text %d is %q, and %q with one more message\n%s\n%s", i, a[i], b[i], before.Body, after.Body)
		}
	}
}

// hidden begins every text outside of the prompt.
const hidden = "HIDDEN "

// promptTexts returns the texts of the prompt, without keys, which nothing
// replaces. Hidden texts come behind all others.
func promptTexts(t *testing.T, d *Document) (found []string) {
	t.Helper()
	var x Decoded
	behind := false
	for _, text := range d.Texts {
		text.Decode(d.Body, &x)
		switch {
		case bytes.HasPrefix(x.Bytes, []byte(hidden)):
			behind = true
		case text.Key:
		case behind:
			t.Fatalf("%q stands behind a hidden text\n%s", x.Bytes, d.Body)
		default:
			found = append(found, string(x.Bytes))
		}
	}
	return found
}

// Different prompts have different renditions.
func TestRenditionTellsApart(t *testing.T) {
	for _, c := range [][2]string{
		{`{"messages":[{"role":"user","content":"ab"}]}`, `{"messages":[{"role":"user","content":[{"text":"a"},{"text":"b"}]}]}`},
		{`{"messages":[{"role":"user","content":"a"}]}`, `{"messages":[{"role":"assistant","content":"a"}]}`},
		{`{"messages":[{"role":"user","content":"a"}]}`, `{"messages":[{"role":"user","content":"a"}],"tools":[{}]}`},
		{`{"messages":[{"role":"user","content":"a"}]}`, `{"messages":[{"role":"user","content":"a"}],"reasoning_effort":"low"}`},
		{`{"messages":[{"role":"user","content":"a"}]}`, `{"messages":[{"role":"user","name":"a","content":"a"}]}`},
		{`{"messages":[{"role":"user","content":"a"},{"role":"user","content":"b"}]}`, `{"messages":[{"role":"user","content":"a\u00ff\u0001userb"}]}`},
		{`{"messages":[{"role":"user","content":"a"}],"tools":[{"a":"1"}]}`, `{"messages":[{"role":"user","content":"a"}],"tools":[{"a":1}]}`},
		{`{"messages":[{"role":"user","content":"a"}],"tools":[{"a":"b c"}]}`, `{"messages":[{"role":"user","content":"a"}],"tools":[{"a":"bc"}]}`},
		{`{"messages":[{"role":"user","content":"a"}],"tools":[{"a":1,"b":2}]}`, `{"messages":[{"role":"user","content":"a"}],"tools":[{"b":2,"a":1}]}`},
		{
			`{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:image/png;base64,AAAA"}}]}]}`,
			`{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:image/png;base64,AAAB"}}]}]}`,
		},
		{
			`{"messages":[{"role":"assistant","tool_calls":[{"function":{"name":"f","arguments":"1"}},{"function":{"name":"g","arguments":"2"}}]}]}`,
			`{"messages":[{"role":"assistant","tool_calls":[{"function":{"name":"f","arguments":"1"}}],"function_call":{"name":"g","arguments":"2"}}]}`,
		},
	} {
		a, b := bytes.Join(stream(parsed(t, Chat, c[0])), nil), bytes.Join(stream(parsed(t, Chat, c[1])), nil)
		if len(a) == 0 || len(b) == 0 || bytes.Equal(a, b) {
			t.Errorf("%s and %s render to %q", c[0], c[1], a)
		}
	}
}

// cache_control moves from turn to turn and is not rendered.
func TestCacheControlIsNotRendered(t *testing.T) {
	const plain = `{"messages":[{"role":"user","content":"U"}],"tools":[{"name":"f","x":1},{"name":"g"}]}`
	want := bytes.Join(stream(parsed(t, Messages, plain)), nil)
	for _, tools := range []string{
		`[{"cache_control":{"type":"ephemeral"},"name":"f","x":1},{"name":"g"}]`,
		`[{"name":"f" , "cache_control":{"type":"ephemeral"} , "x":1},{"name":"g","cache_control":null}]`,
		`[{"name":"f","x":1 , "\u0063ache_control":{"type":"ephemeral"}},{ "cache_control":{}, "name":"g"}]`,
	} {
		body := strings.Replace(plain, `[{"name":"f","x":1},{"name":"g"}]`, tools, 1)
		if got := bytes.Join(stream(parsed(t, Messages, body)), nil); !bytes.Equal(got, want) {
			t.Errorf("%s\n got %q\nwant %q", tools, got, want)
		}
	}
	only := parsed(t, Messages, `{"messages":[],"tools":[{"cache_control":{"type":"a b"}}]}`)
	if got := rendered(only); got != "0 <raw>[{}]" || listed(only) != "a b" {
		t.Errorf("%s, texts %s", got, listed(only))
	}
}
