// SPDX-License-Identifier: Apache-2.0

package answer

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf8"
)

// laneText is a text of an answer before it is cut into fragments.
type laneText struct {
	id     string // the name of the lane in the texts of dialect.read
	text   string
	nested bool
	// begin, fragment and end are the lane's events in JSON.
	begin    []string
	fragment func(quoted string) string
	end      []string
}

// dialect is one API's way to stream answers.
type dialect struct {
	name   string
	begin  []string
	lanes  func(texts func(nested bool) string) []laneText
	end    []string
	events bool // each event has an event field with its type
	// read is an independent client: it adds an event's fragments to texts.
	read func(t testing.TB, event map[string]any, texts map[string]string)
}

// chatLane returns a lane of a chat choice.
func chatLane(id string, text string, nested bool, delta string) laneText {
	choice := id[:1]
	return laneText{id: id, text: text, nested: nested, fragment: func(q string) string {
		return `{"id":"c-1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":` + choice +
			`,"delta":` + strings.ReplaceAll(delta, "$", q) + `,"logprobs":null,"finish_reason":null}],"usage":{"prompt_tokens":7}}`
	}}
}

func chatFinish(choice int, reason string) string {
	return fmt.Sprintf(`{"id":"c-1","choices":[{"finish_reason":%q,"delta":{},"index":%d}]}`, reason, choice)
}

var dialects = []dialect{
	{
		name:  "chat",
		begin: []string{`{"id":"c-1","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}`},
		lanes: func(text func(bool) string) []laneText {
			lanes := []laneText{
				chatLane("0/reasoning_content", text(false), false, `{"reasoning_content":$}`),
				chatLane("0/content", text(false), false, `{"content":$}`),
				chatLane("0/tool/0", text(true), true, `{"tool_calls":[{"index":0,"function":{"arguments":$}}]}`),
				chatLane("0/tool/1", text(true), true, `{"tool_calls":[{"function":{"arguments":$},"index":1}]}`),
				chatLane("1/content", text(false), false, `{"content":$}`),
				chatLane("1/reasoning", text(false), false, `{"reasoning":$,"content":null}`),
				chatLane("2/refusal", text(false), false, `{"refusal":$}`),
				chatLane("2/function", text(true), true, `{"function_call":{"arguments":$}}`),
				chatLane("2/custom/3", text(false), false, `{"tool_calls":[{"index":3,"custom":{"input":$}}]}`),
			}
			lanes[2].begin = []string{`{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"t0","type":"function","function":{"name":"send","arguments":""}}]}}]}`}
			lanes[3].begin = []string{`{"choices":[{"index":0,"delta":{"tool_calls":[{"index":1,"id":"t1","type":"function","function":{"name":"call"}}]}}]}`}
			return lanes
		},
		end: []string{chatFinish(1, "stop"), chatFinish(0, "tool_calls"), chatFinish(2, "length"),
			`{"choices":[],"usage":{"prompt_tokens":20,"total_tokens":22,"completion_tokens":2,"prompt_tokens_details":{"cached_tokens":16}}}`, "[DONE]"},
		read: readChat,
	},
	{
		name: "completions",
		lanes: func(text func(bool) string) []laneText {
			var lanes []laneText
			for i := range 3 {
				lanes = append(lanes, laneText{id: fmt.Sprintf("%d/text", i), text: text(false), fragment: func(q string) string {
					return fmt.Sprintf(`{"choices":[{"text":%s,"index":%d,"logprobs":{"tokens":["[EMAIL_1]"]},"finish_reason":null}],"model":"m"}`, q, i)
				}, end: []string{fmt.Sprintf(`{"choices":[{"text":"","index":%d,"finish_reason":"stop"}]}`, i)}})
			}
			return lanes
		},
		end:  []string{"[DONE]"},
		read: readChat,
	},
	{
		name:   "responses",
		events: true,
		begin:  []string{`{"type":"response.created","response":{"id":"r","status":"in_progress","output":[]},"sequence_number":0}`},
		lanes: func(text func(bool) string) []laneText {
			lane := func(id, kind string, output, part int, partName string, nested bool) laneText {
				where := fmt.Sprintf(`"item_id":"i%d","output_index":%d,%q:%d`, output, output, partName, part)
				l := laneText{id: id, text: text(nested), nested: nested}
				l.fragment = func(q string) string {
					return `{` + where + `,"delta":` + q + `,"logprobs":[{"token":"["}],"sequence_number":5,"type":"response.` + kind + `.delta"}`
				}
				l.end = []string{`{"type":"response.` + kind + `.done",` + where + `,"sequence_number":6}`}
				return l
			}
			return []laneText{
				lane("reasoning_summary_text/0/0", "reasoning_summary_text", 0, 0, "summary_index", false),
				lane("reasoning_summary_text/0/1", "reasoning_summary_text", 0, 1, "summary_index", false),
				lane("output_text/1/0", "output_text", 1, 0, "content_index", false),
				lane("output_text/1/1", "output_text", 1, 1, "content_index", false),
				lane("refusal/1/2", "refusal", 1, 2, "content_index", false),
				lane("function_call_arguments/2/0", "function_call_arguments", 2, 0, "content_index", true),
				lane("custom_tool_call_input/3/0", "custom_tool_call_input", 3, 0, "content_index", false),
			}
		},
		end:  []string{`{"type":"response.completed","response":{"id":"r","status":"completed","output":[]}}`},
		read: readResponses,
	},
	{
		name:   "anthropic",
		events: true,
		begin:  []string{`{"type":"message_start","message":{"id":"m","role":"assistant","content":[],"usage":{"input_tokens":9}}}`, `{"type":"ping"}`},
		lanes: func(text func(bool) string) []laneText {
			lane := func(index int, block, kind, name string, nested bool) laneText {
				return laneText{
					id: fmt.Sprintf("%d/%s", index, name), text: text(nested), nested: nested,
					begin: []string{fmt.Sprintf(`{"type":"content_block_start","index":%d,"content_block":%s}`, index, block)},
					fragment: func(q string) string {
						return fmt.Sprintf(`{"type":"content_block_delta","index":%d,"delta":{"type":%q,%q:%s}}`, index, kind, name, q)
					},
					end: []string{fmt.Sprintf(`{"type":"content_block_stop","index":%d}`, index)},
				}
			}
			return []laneText{
				lane(0, `{"type":"thinking","thinking":"","signature":""}`, "thinking_delta", "thinking", false),
				lane(1, `{"type":"text","text":""}`, "text_delta", "text", false),
				lane(2, `{"type":"tool_use","id":"t","name":"send","input":{}}`, "input_json_delta", "partial_json", true),
				lane(3, `{"type":"tool_use","id":"t","name":"send","input":{}}`, "input_json_delta", "partial_json", true),
			}
		},
		end: []string{`{"type":"message_delta","delta":{"stop_reason":"tool_use","stop_sequence":null},"usage":{"output_tokens":15}}`,
			`{"type":"message_stop"}`},
		read: readAnthropic,
	},
	{
		name: "llama.cpp",
		lanes: func(text func(bool) string) []laneText {
			return []laneText{{id: "content", text: text(false), fragment: func(q string) string {
				return `{"index":0,"content":` + q + `,"tokens":[1],"stop":false,"timings":{"prompt_n":1}}`
			}}}
		},
		end: []string{`{"index":0,"content":"","stop":true,"timings":{"cache_n":3,"prompt_n":4,"prompt_ms":2.5,"predicted_n":6}}`},
		read: func(_ testing.TB, event map[string]any, texts map[string]string) {
			texts["content"] += event["content"].(string)
		},
	},
}

func readChat(t testing.TB, event map[string]any, texts map[string]string) {
	for _, c := range event["choices"].([]any) {
		choice := c.(map[string]any)
		id := fmt.Sprint(choice["index"])
		if text, ok := choice["text"].(string); ok {
			texts[id+"/text"] += text
		}
		delta, _ := choice["delta"].(map[string]any)
		for name, value := range delta {
			switch value := value.(type) {
			case string:
				if name != "role" {
					texts[id+"/"+name] += value
				}
			case map[string]any:
				texts[id+"/function"] += value["arguments"].(string)
			case []any:
				for _, entry := range value {
					readTool(entry.(map[string]any), id, texts)
				}
			}
		}
	}
}

// readTool joins repeated names, as clients do, so that a duplicate shows.
func readTool(call map[string]any, id string, texts map[string]string) {
	at := fmt.Sprint(call["index"])
	if f, ok := call["function"].(map[string]any); ok {
		if args, ok := f["arguments"].(string); ok {
			texts[id+"/tool/"+at] += args
		}
		if name, ok := f["name"].(string); ok {
			texts[id+"/name/"+at] += name
		}
	}
	if c, ok := call["custom"].(map[string]any); ok {
		texts[id+"/custom/"+at] += c["input"].(string)
	}
}

func readResponses(t testing.TB, event map[string]any, texts map[string]string) {
	base, ok := strings.CutSuffix(event["type"].(string), ".delta")
	if !ok {
		return
	}
	part := event["content_index"]
	if part == nil {
		part = event["summary_index"]
	}
	texts[fmt.Sprintf("%s/%v/%v", strings.TrimPrefix(base, "response."), event["output_index"], part)] += event["delta"].(string)
}

func readAnthropic(t testing.TB, event map[string]any, texts map[string]string) {
	if event["type"] != "content_block_delta" {
		return
	}
	for name, value := range event["delta"].(map[string]any) {
		if name != "type" {
			texts[fmt.Sprintf("%v/%s", event["index"], name)] += value.(string)
		}
	}
}

// spelling is a server's way to write a stream.
type spelling struct {
	eol   string
	quote func(rng *rand.Rand, text string) string
	noise bool // comments, ids, several data lines, no space behind the colon
}

var spellings = []spelling{
	{"\n", quotePlain, false},
	{"\r\n", quotePlain, true},
	{"\r", quoteASCII, true},
	{"\n", quoteRandom, true},
}

func quotePlain(_ *rand.Rand, text string) string { return `"` + inside(text) + `"` }

// quoteASCII escapes all but ASCII, as Python does by default.
func quoteASCII(rng *rand.Rand, text string) string {
	return quoteIf(text, func(r rune) bool { return r >= 0x80 })
}

// quoteRandom escapes random characters, brackets too.
func quoteRandom(rng *rand.Rand, text string) string {
	return quoteIf(text, func(r rune) bool { return r >= 0x10000 || rng.IntN(8) == 0 })
}

func quoteIf(text string, escaped func(rune) bool) string {
	var b strings.Builder
	for _, r := range text {
		switch {
		case !escaped(r):
			b.WriteString(inside(string(r)))
		case r >= 0x10000:
			fmt.Fprintf(&b, `\u%04x\u%04X`, 0xd800+(r-0x10000)>>10, 0xdc00+(r-0x10000)&0x3ff)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return `"` + b.String() + `"`
}

// script writes a stream of events.
type script struct {
	rng  *rand.Rand
	s    spelling
	d    *dialect
	wire []byte
	cuts []int // the ends of the events
}

func (w *script) event(data string) {
	line := func(field, value string) {
		colon := ": "
		if w.s.noise && w.rng.IntN(4) == 0 {
			colon = ":"
		}
		w.wire = append(w.wire, field+colon+value+w.s.eol...)
	}
	if w.s.noise && w.rng.IntN(6) == 0 {
		line("", "keep-alive [EMAIL_1]")
	}
	if w.d.events {
		var e struct{ Type string }
		_ = json.Unmarshal([]byte(data), &e)
		line("event", e.Type)
	}
	if i := strings.Index(data, ","); w.s.noise && i > 0 && w.rng.IntN(4) == 0 && strings.Count(data[:i], `"`)%2 == 0 {
		line("data", data[:i+1])
		line("id", "7")
		line("data", data[i+1:])
	} else {
		line("data", data)
	}
	w.wire = append(w.wire, w.s.eol...)
	w.cuts = append(w.cuts, len(w.wire))
}

// transcribe streams lanes, cut into fragments and interleaved at random.
func transcribe(rng *rand.Rand, d *dialect, s spelling, lanes []laneText) *script {
	w := &script{rng: rng, s: s, d: d}
	for _, data := range d.begin {
		w.event(data)
	}
	type state struct{ at, begun int }
	states := make([]state, len(lanes))
	open := make([]int, len(lanes))
	for i := range lanes {
		open[i] = i
	}
	for len(open) > 0 {
		k := rng.IntN(len(open))
		lane, st := &lanes[open[k]], &states[open[k]]
		switch {
		case st.begun < len(lane.begin):
			w.event(lane.begin[st.begun])
			st.begun++
		case st.at < len(lane.text):
			n := fragment(rng, lane.text[st.at:])
			w.event(lane.fragment(s.quote(rng, lane.text[st.at:st.at+n])))
			st.at += n
		default:
			for _, data := range lane.end {
				w.event(data)
			}
			open = append(open[:k], open[k+1:]...)
		}
	}
	for _, data := range d.end {
		w.event(data)
	}
	return w
}

// fragment returns the length of a random first piece of a text, often 1.
func fragment(rng *rand.Rand, text string) int {
	n := 1 + rng.IntN(1+rng.IntN(8))
	for n < len(text) && !utf8.RuneStart(text[n]) {
		n++
	}
	return min(n, len(text))
}

// randomText returns a mix of placeholders, parts of them and similar text. Nested, it
// is a JSON object.
func randomText(rng *rand.Rand, nested bool) string {
	words := []string{"[EMAIL_1]", "[EMAIL_10]", "[EMAIL_2]", "[SECRET_1]", "[NAME_1]", "[EMPTY_1]", "[KEYED_7f3a9c]", "[URL_1]",
		"[EMAIL_", "[", "[[", "]", "[EMAIL_1", "[EMAIL_100]", "[EMAIL_3]", "EMAIL_1]", " text ", "Ω李😀", `\`, `"`, "\n", "[KEYED_7f3a9", "u005b", ""}
	var b strings.Builder
	for range rng.IntN(12) {
		b.WriteString(words[rng.IntN(len(words))])
	}
	if nested {
		return `{"to":"` + inside(b.String()) + `","n":[1,2]}`
	}
	return b.String()
}

// client reads a stream as a client does (HTML standard, section 9.2.6) and
// returns the data of its events.
func client(wire []byte) []string {
	text := strings.ReplaceAll(string(wire), "\r\n", "\n")
	text = strings.ReplaceAll(text, "\r", "\n")
	var events []string
	var data []string
	for _, line := range strings.Split(text, "\n") {
		if line == "" {
			if data != nil {
				events = append(events, strings.Join(data, "\n"))
			}
			data = nil
			continue
		}
		if field, value, _ := strings.Cut(line, ":"); field == "data" {
			data = append(data, strings.TrimPrefix(value, " "))
		}
	}
	return events
}

// readLanes returns the texts of a stream by lane, as a client of the dialect reads
// them.
func readLanes(t testing.TB, d *dialect, wire []byte) map[string]string {
	t.Helper()
	texts := map[string]string{}
	addLanes(t, d, wire, texts)
	return texts
}

// addLanes adds the texts of more events.
func addLanes(t testing.TB, d *dialect, wire []byte, texts map[string]string) {
	t.Helper()
	for _, data := range client(wire) {
		if data == "[DONE]" {
			continue
		}
		var event map[string]any
		if err := json.Unmarshal([]byte(data), &event); err != nil {
			t.Fatalf("event does not parse: %v\n%s", err, data)
		}
		d.read(t, event, texts)
	}
}
