// SPDX-License-Identifier: Apache-2.0

package prompt

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
)

func parsed(t testing.TB, api API, body string) *Document {
	t.Helper()
	d := new(Document)
	if err := d.Parse(api, []byte(body)); err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	return d
}

// listed writes all texts, each behind its item and its traits.
func listed(d *Document) string {
	var out []string
	for _, t := range d.Texts {
		mark := ""
		if t.Item != 0 {
			mark += fmt.Sprint(t.Item, ":")
		}
		for _, m := range []struct {
			on   bool
			mark string
		}{{t.Key, "key:"}, {t.Join, "+"}, {t.Nested && !t.Loose, "json:"}, {t.Loose, "loose:"}} {
			if m.on {
				mark += m.mark
			}
		}
		var x Decoded
		t.Decode(d.Body, &x)
		out = append(out, mark+string(x.Bytes))
	}
	return strings.Join(out, " | ")
}

// rendered writes the rendition with one line a message.
func rendered(d *Document) string {
	var b strings.Builder
	last := int32(-1)
	d.Render(func(m int32, chunk []byte) bool {
		if m != last {
			if last >= 0 {
				b.WriteByte('\n')
			}
			fmt.Fprintf(&b, "%d", m)
			last = m
		}
		names := [...]string{"", "role", "type", "name", "think", "text", "args", "raw", "rest"}
		for i := 0; i < len(chunk); i++ {
			switch chunk[i] {
			case TagSegment:
				i++
				b.WriteString(" <" + names[chunk[i]] + ">")
			case tagString:
				b.WriteByte('\'')
			default:
				b.WriteByte(chunk[i])
			}
		}
		return true
	})
	return b.String()
}

func TestRenderOrder(t *testing.T) {
	for _, c := range []struct {
		name         string
		api          API
		body         string
		texts, lines string
	}{
		{
			"chat with tools behind the messages", Chat,
			`{"messages":[{"role":"system","content":"S"},{"role":"user","content":"U"}],"user":"H",` +
				`"tools":[{"type":"function","function":{"name":"T","description":"D"}}],"model":"m"}`,
			`T | D | S | U | H`,
			"0 <raw>[{'type':'function','function':{'name':'T','description':'D'}}] <role>system <text>S\n1 <role>user <text>U",
		},
		{
			"chat without a head", Chat,
			`{"messages":[{"role":"user","content":"U"},{"role":"system","content":"S"},{"role":"user","content":"V"}]}`,
			`U | S | V`, "0 <role>user <text>U\n1 <role>system <text>S\n2 <role>user <text>V",
		},
		{
			"two leading system prompts", Chat,
			`{"messages":[{"role":"system","content":"S"},{"content":"D","role":"d\u0065veloper"},{"role":"user","content":"U"}]}`,
			`S | D | U`, "0 <role>system <text>S <role>developer <text>D\n1 <role>user <text>U",
		},
		{
			"empty tools are none", Chat,
			`{"tools":[],"functions":null,"messages":[{"role":"user","content":"U"}]}`,
			`U`, "0 <role>user <text>U",
		},
		{
			"what changes the start of the prompt", Chat,
			`{"messages":[{"role":"user","content":"U"}],"documents":[{"text":"doc"}],"reasoning_effort":"low",` +
				`"chat_template_kwargs":{"enable_thinking": false},"chat_template":"{{x}}","add_generation_prompt":true}`,
			`{{x}} | key:enable_thinking | low | doc | U`,
			"0 <raw>'chat_template':'{{x}}' <raw>'chat_template_kwargs':{'enable_thinking':false} " +
				"<raw>'reasoning_effort':'low' <raw>'documents':[{'text':'doc'}] <role>user <text>U",
		},
		{
			"content parts", Chat,
			`{"messages":[{"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":""},{"type":"text","text":"b"},` +
				`{"type":"image_url","image_url":{"url":"https://h/i.png","detail":"low"}},{"type":"text","text":"c"},"d",` +
				`{"type":"image_url","image_url":{"url":"data:image/png;base64,iVBOR+/="}},` +
				`{"type":"input_audio","input_audio":{"data":"AAAA","format":"wav"}}]}]}`,
			`a | +b | https://h/i.png | c | +d`,
			"0 <role>user <text>a <text>b <type>image_url <raw>{'type':'image_url','image_url':{'url':'https://h/i.png','detail':'low'}}" +
				" <text>c <text>d <type>image_url <raw>{'type':'image_url','image_url':{'url':'data:image/png;base64,iVBOR+/='}}" +
				" <type>input_audio <raw>{'type':'input_audio','input_audio':{'data':'AAAA','format':'wav'}}",
		},
		{
			"tool calls, member order and ids", Chat,
			`{"messages":[{"tool_calls":[{"function":{"arguments":"{\"to\":\"x\"}","name":"mail"},"type":"function","id":"call_1"}],` +
				`"content":null,"role":"assistant","reasoning_content":"R"},{"tool_call_id":"call_1","content":"sent","role":"tool"}]}`,
			`R | mail | json:{"to":"x"} | loose:sent`,
			"0 <role>assistant <think>R <type> <name>mail <args>{\"to\":\"x\"}\n1 <role>tool <text>sent",
		},
		{
			"arguments as a value, legacy functions", Chat,
			`{"messages":[{"role":"assistant","content":"","function_call":{"name":"f","arguments":{"e":"x@y.zz"}}}],` +
				`"functions":[{"name":"f","description":"D"}]}`,
			`f | D | f | key:e | x@y.zz`,
			"0 <raw>[{'name':'f','description':'D'}]\n1 <role>assistant <type> <name>f <raw>{'e':'x@y.zz'}",
		},
		{
			"names and unknown members of a message stand in it", Chat,
			`{"messages":[{"role":"user","name":"bob","content":"U","mood":"calm"},{"role":"user","content":"V"}],"zz":"H"}`,
			`bob | U | key:mood | calm | V | key:zz | H`, "0 <role>user <name>bob <text>U\n1 <role>user <text>V",
		},
		{
			"no role hides text", Chat,
			`{"messages":[{"role":"john@example.com","content":"U"}],"model":"m"}`,
			`john@example.com | U`, "0 <role>john@example.com <text>U",
		},
		{
			"ids do not hide text", Chat,
			`{"messages":[{"role":"tool","tool_call_id":"mail john@example.com","id":"ok_1","content":"x"}]}`,
			`loose:x | mail john@example.com`, "0 <role>tool <text>x",
		},
		{
			"schemas are swept, type words are not", Chat,
			`{"messages":[],"tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object",` +
				`"properties":{"id":{"type":"string","enum":["a@b.cc"]},"who":{"type":["a",{"type":"A B"}]}},"cache_control":{"x":"pii"}}}}]}`,
			`f | a@b.cc | key:who | a | A B | key:x | pii`,
			"0 <raw>[{'type':'function','function':{'name':'f','parameters':{'type':'object','properties':{'id':{'type':'string'," +
				"'enum':['a@b.cc']},'who':{'type':['a',{'type':'A B'}]}},'cache_control':{'x':'pii'}}}}]",
		},
		{
			"completions", Completions, `{"model":"m","suffix":"S","prompt":"P\n","stop":["x"]}`,
			"P\n | S | x", "0 <text>P\n",
		},
		{"completions, list of one", Completions, `{"prompt":["P"]}`, `P`, "0 <text>P"},
		{"completions, list of two", Completions, `{"prompt":["P","Q"],"user":"u"}`, `1:P | 2:Q | u`, ""},
		{"completions, empty list", Completions, `{"prompt":[]}`, ``, ""},
		{
			"responses, text", Responses,
			`{"input":"I","instructions":"S","tools":[{"type":"function","name":"f"}],"reasoning":{"effort":"low","summary":"auto"}}`,
			`low | f | S | I | auto`,
			"0 <raw>'effort':'low' <raw>[{'type':'function','name':'f'}] <role> <text>S\n1 <role> <text>I",
		},
		{"responses, text alone", Responses, `{"input":"I"}`, `I`, "0 <role> <text>I"},
		{
			"responses, items", Responses,
			`{"input":[{"type":"message","role":"developer","content":[{"type":"input_text","text":"D"}]},` +
				`{"role":"user","content":"U"},{"type":"reasoning","id":"rs_1","summary":[{"type":"summary_text","text":"R"}],"encrypted_content":"gAAAA=="},` +
				`{"type":"function_call","id":"fc_1","call_id":"c1","name":"f","arguments":"{}"},` +
				`{"type":"function_call_output","call_id":"c1","output":"O"},` +
				`{"type":"web_search_call","id":"ws_1","status":"completed","query":"Q"}]}`,
			`D | U | R | f | json:{} | loose:O | Q`,
			"0 <role>developer <text>D\n1 <role>user <text>U\n2 <role>reasoning <think>R\n3 <role>function_call <name>f <args>{}\n" +
				"4 <role>function_call_output <text>O\n" +
				"5 <role>web_search_call <raw>{'type':'web_search_call','id':'ws_1','status':'completed','query':'Q'}",
		},
		{"responses going on elsewhere", Responses, `{"input":"I","previous_response_id":"resp_1"}`, `I`, ""},
		{
			"anthropic", Messages,
			`{"messages":[{"role":"user","content":[{"type":"text","text":"U","cache_control":{"type":"ephemeral"}}]},` +
				`{"role":"assistant","content":[{"type":"thinking","thinking":"R","signature":"c2ln"},{"type":"redacted_thinking","data":"ZGF0YQ=="},` +
				`{"type":"tool_use","id":"toolu_1","name":"f","input":{"to":"x@y.zz"}}]},` +
				`{"role":"user","content":[{"type":"tool_result","tool_use_id":"toolu_1","content":[{"type":"text","text":"O"}]},` +
				`{"type":"document","source":{"type":"text","media_type":"text/plain","data":"plain words"},"title":"Ti"},` +
				`{"type":"image","source":{"type":"base64","media_type":"image/png","data":"AAAA"}}]}],` +
				`"system":[{"type":"text","text":"S","cache_control":{"type":"ephemeral","ttl":"5m"}}],"metadata":{"user_id":"me"},` +
				`"tools":[{"name":"f","input_schema":{"type":"object"},"cache_control":{"type":"ephemeral"}}],"max_tokens":5}`,
			`f | S | U | R | f | key:to | x@y.zz | loose:O | plain words | Ti | key:user_id | me`,
			"0 <raw>[{'name':'f','input_schema':{'type':'object'}}] <role> <text>S\n1 <role>user <text>U\n" +
				"2 <role>assistant <think>R <type>redacted_thinking <raw>{'type':'redacted_thinking','data':'ZGF0YQ=='}" +
				" <type>tool_use <name>f <raw>{'to':'x@y.zz'}\n" +
				"3 <role>user <type>tool_result <text>O <type>document <raw>{'type':'document','source':{'type':'text'," +
				"'media_type':'text/plain','data':'plain words'},'title':'Ti'} <type>image <raw>{'type':'image'," +
				"'source':{'type':'base64','media_type':'image/png','data':'AAAA'}}",
		},
		{"anthropic, system as text", Messages, `{"system":"S","messages":[{"role":"user","content":"U"}]}`, `S | U`, "0 <role> <text>S\n1 <role>user <text>U"},
		{"embeddings, text", Embeddings, `{"input":"I","user":"u"}`, `1:I | u`, ""},
		{"embeddings, list", Embeddings, `{"user":"u","input":["I","","J",{"content":[{"type":"text","text":"K"}]}]}`, `1:I | 3:J | 4:K | u`, ""},
		{"embeddings, chat", Embeddings, `{"messages":[{"role":"user","content":"U"}]}`, `U`, ""},
		{"rerank", Rerank, `{"documents":["A",{"text":"B"}],"query":"Q","top_n":2}`, `1:Q | 2:A | 3:B`, ""},
		{"score", Score, `{"text_2":["B","C"],"text_1":"A"}`, `1:A | 2:B | 3:C`, ""},
		{"tokenize, prompt", Tokenize, `{"prompt":"P"}`, `1:P`, ""},
		{
			"tokenize, chat", Tokenize, `{"messages":[{"role":"user","content":"U"}],"system":"S","tools":[{"name":"f"}]}`,
			`f | S | U`, "",
		},
		{"other", Other, `{"model":"m","b":{"type":"text","id":"i","text":"x"},"a":["y",{"q":"z"}]}`, `key:b | i | x | key:a | y | key:q | z`, ""},
		{"other, no object", Other, `["x",{"model":"m"}]`, `x | m`, ""},
		{"other, one string", Other, `"x"`, `x`, ""},
		{"data URLs", Other, `["data:image/png;base64,AA\/A=","data:text/plain,hi","data:;base64,AAAA","data:a/b;base64,a b"]`, `data:text/plain,hi | data:;base64,AAAA | data:a/b;base64,a b`, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := parsed(t, c.api, c.body)
			if got := listed(d); got != c.texts {
				t.Errorf("texts\n got %s\nwant %s", got, c.texts)
			}
			if got := rendered(d); got != c.lines {
				t.Errorf("rendition\n got %s\nwant %s", got, c.lines)
			}
		})
	}
}

func TestDocumentFacts(t *testing.T) {
	for _, c := range []struct {
		name string
		api  API
		body string
		ok   func(*Document) bool
	}{
		{"model", Chat, `{"model":"a\/b\u0041","messages":[]}`, func(d *Document) bool { return d.Model == "a/bA" && len(d.Texts) == 0 }},
		{"null model", Chat, `{"model":null,"messages":[]}`, func(d *Document) bool { return d.Model == "" }},
		{"long model of another API is text", Other, `{"model":"` + strings.Repeat("m", 257) + `"}`, func(d *Document) bool { return d.Model == "" && len(d.Texts) == 1 }},
		{"stream", Chat, `{"stream":true,"messages":[]}`, func(d *Document) bool { return d.Stream }},
		{"priority", Chat, `{"priority":-7,"messages":[]}`, func(d *Document) bool { return d.Priority == -7 }},
		{"priority of a prompt", Completions, `{"prompt":"a","priority":3}`, func(d *Document) bool { return d.Priority == 3 }},
		{"no priority", Chat, `{"messages":[{"role":"user","content":"a","priority":4}]}`, func(d *Document) bool { return d.Priority == 0 }},
		{"priority null", Chat, `{"priority":null,"messages":[]}`, func(d *Document) bool { return d.Priority == 0 }},
		{"priority in words", Chat, `{"priority":"4","messages":[]}`, func(d *Document) bool { return d.Priority == 0 }},
		{"priority with a fraction", Chat, `{"priority":4.5,"messages":[]}`, func(d *Document) bool { return d.Priority == 0 }},
		{"priority too great", Chat, `{"priority":2147483648,"messages":[]}`, func(d *Document) bool { return d.Priority == math.MaxInt32 }},
		{"priority too small", Chat, `{"priority":-99999999999999999999,"messages":[]}`, func(d *Document) bool { return d.Priority == math.MinInt32 }},
		{"priority of endless digits", Chat, `{"priority":1` + strings.Repeat("0", 1000) + `,"messages":[]}`, func(d *Document) bool { return d.Priority == 0 }},
		{"no stream", Chat, `{"stream":false,"messages":[]}`, func(d *Document) bool { return !d.Stream }},
		{"token ids", Completions, `{"prompt":[1,2,3]}`, func(d *Document) bool { return d.TokenIDs && len(d.Segments) == 0 }},
		{"lists of token ids", Completions, `{"prompt":[[1,2],[3]]}`, func(d *Document) bool { return d.TokenIDs && d.ManyPrompts }},
		{"one list of token ids", Completions, `{"prompt":[[1,2]]}`, func(d *Document) bool { return d.TokenIDs }},
		{"text and token ids", Completions, `{"prompt":["a",[1]]}`, func(d *Document) bool { return d.TokenIDs && d.ManyPrompts && len(d.Texts) == 1 }},
		{"prompt embeddings", Completions, `{"prompt_embeds":"gAAAA=="}`, func(d *Document) bool { return d.TokenIDs && len(d.Texts) == 0 }},
		{"both", Completions, `{"prompt":"P","prompt_embeds":["gAAAA=="]}`, func(d *Document) bool { return d.TokenIDs && len(d.Segments) == 0 }},
		{"token ids to embed", Embeddings, `{"input":[1,2]}`, func(d *Document) bool { return d.TokenIDs }},
		{"lists of token ids to embed", Embeddings, `{"input":[[1],[2]]}`, func(d *Document) bool { return d.TokenIDs }},
		{"text to embed", Embeddings, `{"input":["1"]}`, func(d *Document) bool { return !d.TokenIDs }},
		{"input_ids", Other, `{"input_ids":[1,2]}`, func(d *Document) bool { return d.TokenIDs }},
		{"input_ids in lists", Other, `{"input_ids":[[1],[2]]}`, func(d *Document) bool { return d.TokenIDs }},
		{"detokenize", Other, `{"tokens":[1,2]}`, func(d *Document) bool { return d.TokenIDs }},
		{"numbers elsewhere", Other, `{"x":[1,2]}`, func(d *Document) bool { return !d.TokenIDs }},
		{"many", Completions, `{"prompt":["a","b"]}`, func(d *Document) bool { return d.ManyPrompts && len(d.Segments) == 0 }},
		{"open", Chat, ` { "messages":[]}`, func(d *Document) bool { return d.InsertAt == 2 && !d.Empty }},
		{"open of an empty one", Other, `{ }`, func(d *Document) bool { return d.InsertAt == 1 && d.Empty }},
		{"no object", Other, `[]`, func(d *Document) bool { return d.InsertAt == 0 }},
		{"members", Chat, `{"cache_salt":"s","stream_options":{"include_usage": true},"messages":[]}`, func(d *Document) bool {
			return d.Body[d.CacheSalt.Start] == '"' && string(d.Body[d.CacheSalt.Start:d.CacheSalt.End]) == `"s"` &&
				string(d.Body[d.StreamOptions.Start:d.StreamOptions.End]) == `{"include_usage": true}` &&
				string(d.Body[d.IncludeUsage.Start:d.IncludeUsage.End]) == "true" && !d.StreamOptions.Empty
		}},
		{"empty member", Chat, `{"stream_options":{},"messages":[]}`, func(d *Document) bool {
			return d.StreamOptions.Present() && d.StreamOptions.Empty && !d.IncludeUsage.Present() && !d.CacheSalt.Present()
		}},
		{"members of the same name further in", Chat, `{"metadata":{"cache_salt":"s"},"messages":[]}`, func(d *Document) bool { return !d.CacheSalt.Present() }},
	} {
		t.Run(c.name, func(t *testing.T) {
			if d := parsed(t, c.api, c.body); !c.ok(d) {
				t.Errorf("%s: %+v", c.body, d.Texts)
			}
		})
	}
}

func TestWrongTypes(t *testing.T) {
	for _, c := range []struct {
		api   API
		body  string
		want  *Error
		param string
	}{
		{Chat, `[]`, ErrType, ""},
		{Chat, `"x"`, ErrType, ""},
		{Chat, `null`, ErrType, ""},
		{Chat, `{}`, ErrMissing, "messages"},
		{Chat, `{"prompt":"x"}`, ErrMissing, "messages"},
		{Chat, `{"messages":null}`, ErrType, "messages"},
		{Chat, `{"messages":"x"}`, ErrType, "messages"},
		{Chat, `{"messages":{}}`, ErrType, "messages"},
		{Chat, `{"messages":["x"]}`, ErrType, "messages"},
		{Chat, `{"messages":[[]]}`, ErrType, "messages"},
		{Chat, `{"messages":[{"role":1}]}`, ErrType, "messages.role"},
		{Chat, `{"messages":[{"role":"user","content":1}]}`, ErrType, "messages.content"},
		{Chat, `{"messages":[{"role":"user","content":true}]}`, ErrType, "messages.content"},
		{Chat, `{"messages":[{"role":"user","content":{"text":"x"}}]}`, ErrType, "messages.content"},
		{Chat, `{"messages":[{"role":"user","content":[1]}]}`, ErrType, "messages.content"},
		{Chat, `{"messages":[{"role":"assistant","tool_calls":"x"}]}`, ErrType, "messages.tool_calls"},
		{Chat, `{"messages":[{"role":"assistant","tool_calls":["x"]}]}`, ErrType, "messages.tool_calls"},
		{Chat, `{"messages":[],"tools":{}}`, ErrType, "tools"},
		{Chat, `{"messages":[],"functions":"x"}`, ErrType, "functions"},
		{Chat, `{"messages":[],"model":1}`, ErrType, "model"},
		{Chat, `{"messages":[],"model":"` + strings.Repeat("m", 257) + `"}`, ErrType, "model"},
		{Chat, `{"messages":[],"stream":"yes"}`, ErrType, "stream"},
		{Completions, `{}`, ErrMissing, "prompt"},
		{Completions, `{"messages":[]}`, ErrMissing, "prompt"},
		{Completions, `{"prompt":null}`, ErrType, "prompt"},
		{Completions, `{"prompt":5}`, ErrType, "prompt"},
		{Completions, `{"prompt":[true]}`, ErrType, "prompt"},
		{Responses, `{}`, ErrMissing, "input"},
		{Responses, `{"input":5}`, ErrType, "input"},
		{Responses, `{"input":["x"]}`, ErrType, "input"},
		{Responses, `{"input":"x","instructions":5}`, ErrType, "instructions"},
		{Messages, `{"system":"x"}`, ErrMissing, "messages"},
		{Messages, `{"messages":[],"system":5}`, ErrType, "system"},
		{Messages, `{"messages":[],"system":[5]}`, ErrType, "system"},
		{Embeddings, `{}`, ErrMissing, "input"},
		{Embeddings, `{"input":5}`, ErrType, "input"},
		{Embeddings, `{"input":[null]}`, ErrType, "input"},
		{Tokenize, `{"messages":5}`, ErrType, "messages"},
		{Tokenize, `{"prompt":5}`, ErrType, "prompt"},
		{Rerank, `5`, ErrType, ""},
	} {
		var d Document
		err := d.Parse(c.api, []byte(c.body))
		var e *Error
		if !errors.Is(err, c.want) || !errors.As(err, &e) || e.Param != c.param || e.Status != 400 {
			t.Errorf("%v %s: %v (%+v)", c.api, c.body, err, e)
		}
	}
	if errors.Is(errModel, errStream) || errors.Is(ErrSyntax, ErrDepth) || errors.Is(errModel, errors.New("x")) {
		t.Error("errors.Is mixes up two errors")
	}
}

// No error quotes the body.
func TestErrorsAreFixed(t *testing.T) {
	const secret = "zqjx"
	for _, api := range []API{Chat, Completions, Responses, Messages, Embeddings, Rerank, Score, Tokenize, Other} {
		for _, body := range []string{
			`{"` + secret + `":1,"` + secret + `":2}`, `{"messages":"` + secret + `","prompt":{"a":"` + secret + `"}}`,
			secret, `{"model":["` + secret + `"]}`, `{"input":{"` + secret, `["` + secret + `\ud800"]`,
		} {
			var d Document
			if err := d.Parse(api, []byte(body)); err != nil && strings.Contains(err.Error(), secret) {
				t.Errorf("%s: %v", body, err)
			}
		}
	}
}

func TestRenderStops(t *testing.T) {
	d := parsed(t, Chat, string(chatBody(64<<10)))
	calls := 0
	d.Render(func(int32, []byte) bool { calls++; return calls < 3 })
	if calls != 3 {
		t.Errorf("%d calls", calls)
	}
}

func TestReset(t *testing.T) {
	d := parsed(t, Chat, `{"model":"m","messages":[{"r\u006fle":"us\u0065r","content":"x"}]}`)
	rendered(d)
	before := d.MemorySize()
	chunk := d.chunk[:cap(d.chunk)]
	d.Reset()
	if d.Body != nil || d.tape.body != nil || len(d.Texts)+len(d.Segments) != 0 || bytes.Contains(chunk, []byte("user")) {
		t.Error("Reset leaves text or references")
	}
	if after := d.MemorySize(); after != before || after < 1000 {
		t.Errorf("the document keeps %d bytes, then %d", before, after)
	}
}
