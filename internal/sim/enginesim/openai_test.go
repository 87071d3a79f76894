// SPDX-License-Identifier: Apache-2.0

package enginesim

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"
)

// toolReply has a text and two tool calls.
func toolReply(Request) Reply {
	return Reply{Text: "Let me look.", ToolCalls: []ToolCall{
		{Name: "search", Arguments: `{"query":"a <b> & c"}`},
		{Name: "noop", Arguments: `{}`},
	}}
}

// same compares an answer with the expected one, except for created.
func same(t *testing.T, got, want string) {
	t.Helper()
	got = regexp.MustCompile(`"created(_at)?":\d{10}`).ReplaceAllString(got, `"created$1":1`)
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func requestWithID(t *testing.T, e *Engine, path, body string) string {
	t.Helper()
	r, err := http.NewRequest(http.MethodPost, e.URL()+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X-Request-Id", "7")
	return do(t, r)
}

func TestChat(t *testing.T) {
	e := start(t, Config{Responder: Echo})
	same(t, requestWithID(t, e, "/v1/chat/completions", chatBody("Grüße <b>", "")),
		`{"id":"chatcmpl-7","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,`+
			`"message":{"role":"assistant","content":"Grüße <b>","refusal":null,"tool_calls":[]},`+
			`"logprobs":null,"finish_reason":"stop","stop_reason":null}],`+
			// 4 tokens of markers and role, 5 of text (Gr ü ß "e <b" >), 4 of the generation prompt
			`"usage":{"prompt_tokens":13,"total_tokens":19,"completion_tokens":6,"prompt_tokens_details":{"cached_tokens":0}}}`)
}

func TestChatStream(t *testing.T) {
	e := start(t, Config{Responder: Echo})
	const head = `data: {"id":"chatcmpl-7","object":"chat.completion.chunk","created":1,"model":"m","choices":[`
	const tail = `,"logprobs":null,"finish_reason":null,"stop_reason":null}]}` + "\n\n"
	same(t, requestWithID(t, e, "/v1/chat/completions", chatBody("Hi there", `,"stream":true,"stream_options":{"include_usage":true}`)),
		head+`{"index":0,"delta":{"role":"assistant","content":""}`+tail+
			head+`{"index":0,"delta":{"content":"Hi t"}`+tail+
			head+`{"index":0,"delta":{"content":"here"}`+tail+
			head+`{"index":0,"delta":{"content":""},"logprobs":null,"finish_reason":"stop","stop_reason":null}]}`+"\n\n"+
			head+`],"usage":{"prompt_tokens":10,"total_tokens":13,"completion_tokens":3,"prompt_tokens_details":{"cached_tokens":0}}}`+"\n\n"+
			"data: [DONE]\n\n")

	// Without include_usage no chunk has usage.
	if body := requestWithID(t, e, "/v1/chat/completions", chatBody("Hi", `,"stream":true`)); strings.Contains(body, "usage") {
		t.Errorf("usage was not asked for: %s", body)
	}
}

func TestFinishReasonOnTheLastPiece(t *testing.T) {
	e := start(t, Config{Responder: Echo, FinishWithContent: true})
	for _, sizes := range [][]int{nil, {5}, {1000}} {
		e.cfg.ChunkSizes = sizes
		body := requestWithID(t, e, "/v1/chat/completions", chatBody("Hi there everybody", `,"stream":true`))
		list := records(t, body)
		last := list[len(list)-2]
		if !strings.Contains(last, `"finish_reason":"stop"`) || strings.Contains(last, `"content":""`) || strings.Count(body, `"finish_reason":"stop"`) != 1 {
			t.Errorf("sizes %v: last piece %s", sizes, last)
		}
		if got := streamText(t, body); got != "Hi there everybody" {
			t.Errorf("sizes %v: text %q", sizes, got)
		}
	}
	// An empty answer has no piece that could carry it.
	e.cfg.Responder = Text("")
	if body := requestWithID(t, e, "/v1/chat/completions", chatBody("Hi", `,"stream":true`)); strings.Count(body, `"finish_reason":"stop"`) != 1 {
		t.Errorf("empty answer: %s", body)
	}
}

func TestContinuousUsage(t *testing.T) {
	e := start(t, Config{Responder: Text("one two three"), Speed: 1})
	body := requestWithID(t, e, "/v1/chat/completions", chatBody("Hi", `,"stream":true,"stream_options":{"include_usage":true,"continuous_usage_stats":true}`))
	for _, record := range records(t, body) {
		if record != "data: [DONE]" && !strings.Contains(record, `"usage":{"prompt_tokens":9,`) {
			t.Errorf("no usage in %s", record)
		}
	}
}

// TestChunkSizes cuts a placeholder in the middle and never a character.
func TestChunkSizes(t *testing.T) {
	const text = "Mail [EMAIL_1] \u4f60\u597d \U0001f600!"
	for _, sizes := range [][]int{{1}, {3}, {7, 2}, {100}, {16}} {
		e := start(t, Config{Responder: Echo, ChunkSizes: sizes})
		body := requestWithID(t, e, "/v1/chat/completions", chatBody(text, `,"stream":true`))
		if got := streamText(t, body); got != text {
			t.Errorf("sizes %v: %q", sizes, got)
		}
		pieces := 0
		for i, record := range records(t, body) {
			var c openAIAnswer
			if json.Unmarshal([]byte(strings.TrimPrefix(record, "data: ")), &c) != nil || len(c.Choices) == 0 || i == 0 {
				continue
			}
			piece := *c.Choices[0].Delta.Content
			if n := len([]rune(piece)); n > 1 && len(piece) > sizes[pieces%len(sizes)] {
				t.Errorf("sizes %v: piece %d is %q", sizes, pieces, piece)
			}
			pieces++
		}
		if pieces < len(text)/sizes[0]/2 {
			t.Errorf("sizes %v: only %d pieces", sizes, pieces)
		}
	}
}

func TestStreamInterval(t *testing.T) {
	e := start(t, Config{Responder: Text("aaaabbbbccccddddeeee"), StreamInterval: 3})
	body := requestWithID(t, e, "/v1/completions", `{"prompt":"x","stream":true}`)
	var pieces []string
	for _, record := range records(t, body) {
		var c openAIAnswer
		if json.Unmarshal([]byte(strings.TrimPrefix(record, "data: ")), &c) == nil {
			pieces = append(pieces, *c.Choices[0].Text)
		}
	}
	if got := fmt.Sprintf("%q", pieces); got != `["aaaa" "bbbbccccdddd" "eeee" ""]` {
		t.Errorf("pieces %s", got)
	}
}

func TestMaxTokens(t *testing.T) {
	e := start(t, Config{Responder: Text("aaaabbbbcccc"), MaxModelLen: 100})
	for _, test := range []struct{ more, text, reason string }{
		{`,"max_tokens":2`, "aaaabbbb", "length"},
		{`,"max_completion_tokens":1,"max_tokens":3`, "aaaa", "length"},
		{`,"max_tokens":4`, "aaaabbbbcccc", "stop"},
		{``, "aaaabbbbcccc", "stop"},
	} {
		var a openAIAnswer
		ask(t, e, "/v1/chat/completions", chatBody("x", test.more), &a)
		if got := *a.Choices[0].Message.Content; got != test.text || *a.Choices[0].FinishReason != test.reason {
			t.Errorf("%s: %q %s", test.more, got, *a.Choices[0].FinishReason)
		}
	}
	var a openAIAnswer
	ask(t, e, "/v1/chat/completions", chatBody("x", `,"max_tokens":50,"ignore_eos":true`), &a)
	if a.Usage.CompletionTokens != 50 || *a.Choices[0].FinishReason != "length" {
		t.Errorf("ignore_eos: %+v", a.Usage)
	}
	for _, more := range []string{`,"max_tokens":99`, `,"max_tokens":0`} {
		if res, body := post(t, e, "/v1/chat/completions", chatBody("x", more)); res.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: %s", more, body)
		}
	}
}

func TestChatToolCalls(t *testing.T) {
	e := start(t, Config{Responder: toolReply})
	var a openAIAnswer
	ask(t, e, "/v1/chat/completions", chatBody("x", ""), &a)
	m := a.Choices[0].Message
	if *m.Content != "Let me look." || len(m.ToolCalls) != 2 || *a.Choices[0].FinishReason != "tool_calls" ||
		m.ToolCalls[0].Function.Name != "search" || m.ToolCalls[0].Function.Arguments != `{"query":"a <b> & c"}` ||
		m.ToolCalls[1].Function.Name != "noop" || m.ToolCalls[0].ID == m.ToolCalls[1].ID {
		t.Errorf("message %+v", m)
	}

	body := requestWithID(t, e, "/v1/chat/completions", chatBody("x", `,"stream":true`))
	var names, arguments [2]string
	for _, record := range records(t, body) {
		var c openAIAnswer
		if json.Unmarshal([]byte(strings.TrimPrefix(record, "data: ")), &c) != nil {
			continue
		}
		for _, call := range c.Choices[0].Delta.ToolCalls {
			names[*call.Index] += call.Function.Name
			arguments[*call.Index] += call.Function.Arguments
		}
	}
	if names != [2]string{"search", "noop"} || arguments != [2]string{`{"query":"a <b> & c"}`, `{}`} {
		t.Errorf("names %q, arguments %q", names, arguments)
	}
	if got := streamText(t, body); got != "Let me look." || !strings.Contains(body, `"finish_reason":"tool_calls"`) {
		t.Errorf("text %q in %s", got, body)
	}
}

// TestNextTurnHitsTheAnswer checks that the answer with its tool call is cached when
// the client sends it back as history.
func TestNextTurnHitsTheAnswer(t *testing.T) {
	const long = "a text that is long enough to fill some blocks of sixteen tokens, more or less, with words and words and words"
	e := start(t, Config{Responder: func(Request) Reply {
		return Reply{Text: long, ToolCalls: []ToolCall{{"f", `{"a":"` + long + `"}`}}}
	}})
	var a openAIAnswer
	ask(t, e, "/v1/chat/completions", chatBody(long, ""), &a)
	first := a.Usage.TotalTokens
	history, _ := json.Marshal(a.Choices[0].Message)
	body := `{"model":"m","messages":[{"role":"user","content":"` + long + `"},` + string(history) + `,{"role":"user","content":"` + long + `"}]}`
	ask(t, e, "/v1/chat/completions", body, &a)
	if got, want := a.Usage.Details.CachedTokens, (first-1)/16*16; got != want {
		t.Errorf("%d tokens cached, want all %d full blocks of the first turn", got, want)
	}
}

func TestCompletions(t *testing.T) {
	e := start(t, Config{Responder: Echo})
	same(t, requestWithID(t, e, "/v1/completions", `{"prompt":["abcd","efghijkl"]}`),
		`{"id":"cmpl-7","object":"text_completion","created":1,"model":"simulated","choices":[`+
			`{"index":0,"text":"abcd","logprobs":null,"finish_reason":"stop","stop_reason":null},`+
			`{"index":1,"text":"efghijkl","logprobs":null,"finish_reason":"stop","stop_reason":null}],`+
			`"usage":{"prompt_tokens":3,"total_tokens":8,"completion_tokens":5,"prompt_tokens_details":{"cached_tokens":0}}}`)
	const head = `data: {"id":"cmpl-7","object":"text_completion","created":1,"model":"simulated","choices":[`
	same(t, requestWithID(t, e, "/v1/completions", `{"prompt":["abcd"],"stream":true,"stream_options":{"include_usage":true}}`),
		head+`{"index":0,"text":"abcd","logprobs":null,"finish_reason":null,"stop_reason":null}]}`+"\n\n"+
			head+`{"index":0,"text":"","logprobs":null,"finish_reason":"stop","stop_reason":null}]}`+"\n\n"+
			head+`],"usage":{"prompt_tokens":1,"total_tokens":3,"completion_tokens":2,"prompt_tokens_details":{"cached_tokens":0}}}`+"\n\n"+
			"data: [DONE]\n\n")
	// Token ids give the same prompt.
	ids, _ := json.Marshal(AppendTokens(nil, "abcd"))
	var a openAIAnswer
	ask(t, e, "/v1/completions", `{"prompt":`+string(ids)+`}`, &a)
	if got := *a.Choices[0].Text; got != "abcd" {
		t.Errorf("token ids: %q", got)
	}
	ask(t, e, "/v1/completions", `{"prompt":[`+string(ids)+`,`+string(ids)+`]}`, &a)
	if len(a.Choices) != 2 || *a.Choices[1].Text != "abcd" {
		t.Errorf("lists of token ids: %+v", a.Choices)
	}
}

// TestSharing checks which prompts share cached blocks, and which do not.
func TestSharing(t *testing.T) {
	long := strings.Repeat("four", 100)
	image := func(url string) string {
		return `{"model":"m","messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"` + url + `"}},{"type":"text","text":"` + long + `"}]}]}`
	}
	for name, test := range map[string]struct {
		first, second string
		shared        bool
	}{
		"same":         {chatBody(long, ""), chatBody(long, ""), true},
		"space":        {chatBody(long, ""), " " + strings.ReplaceAll(chatBody(long, ""), ":", " : "), true},
		"salt":         {chatBody(long, ""), chatBody(long, `,"cache_salt":"x"`), false},
		"same salt":    {chatBody(long, `,"cache_salt":"x"`), chatBody(long, `,"cache_salt":"x"`), true},
		"adapter":      {chatBody(long, ""), strings.Replace(chatBody(long, ""), `"m"`, `"n"`, 1), false},
		"tools":        {chatBody(long, ""), chatBody(long, `,"tools":[{"type":"function"}]`), false},
		"empty tools":  {chatBody(long, ""), chatBody(long, `,"tools":[]`), true},
		"parts":        {chatBody(long, ""), strings.Replace(chatBody(long, ""), `"`+long+`"`, `[{"type":"text","text":"`+long+`"}]`, 1), true},
		"images":       {image("a"), image("b"), false},
		"same image":   {image("a"), image("a"), true},
		"other answer": {chatBody(long, `,"max_tokens":3`), chatBody(long, `,"max_tokens":9,"temperature":1`), true},
	} {
		t.Run(name, func(t *testing.T) {
			e := start(t, Config{Models: []string{"m", "n"}})
			var a openAIAnswer
			ask(t, e, "/v1/chat/completions", test.first, &a)
			ask(t, e, "/v1/chat/completions", test.second, &a)
			if got := a.Usage.Details.CachedTokens; got > 0 != test.shared {
				t.Errorf("%d tokens shared", got)
			}
		})
	}
}

func TestHiddenPromptDetails(t *testing.T) {
	e := start(t, Config{HidePromptDetails: true})
	for path, want := range map[string]string{
		"/v1/chat/completions": `"prompt_tokens_details":null`,
		"/v1/messages":         `"usage":{"input_tokens":9,"output_tokens":32}`,
	} {
		if _, body := post(t, e, path, chatBody("Hi", `,"max_tokens":100`)); !strings.Contains(body, want) {
			t.Errorf("%s: %s", path, body)
		}
	}
}

func TestWordsAreDeterministicAndDependOnThePrompt(t *testing.T) {
	e, other := start(t, Config{}), start(t, Config{})
	text := func(e *Engine, prompt string) string {
		var a openAIAnswer
		ask(t, e, "/v1/chat/completions", chatBody(prompt, ""), &a)
		if a.Usage.CompletionTokens != 32 {
			t.Errorf("%d tokens", a.Usage.CompletionTokens)
		}
		return *a.Choices[0].Message.Content
	}
	if text(e, "x") != text(other, "x") || text(e, "x") == text(e, "y") {
		t.Error("the answer must be a function of the prompt")
	}
}
