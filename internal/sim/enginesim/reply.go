// SPDX-License-Identifier: Apache-2.0

package enginesim

import (
	"net/http"
	"strings"
)

// Request describes one request to a Responder.
type Request struct {
	API          API
	Path         string
	Header       http.Header // read only
	Body         []byte      // as received; read only
	Model        string
	Stream       bool
	LastUser     string // text of the last user message, or of the prompt
	PromptTokens int
	MaxTokens    int    // limit of the answer; longer ones are cut
	Seed         uint64 // equal for equal prompts
}

// Reply is the answer of the simulated model.
type Reply struct {
	Text      string
	ToolCalls []ToolCall // after the text; not for completions
}

// ToolCall is one call of a tool in an answer or in a conversation.
type ToolCall struct {
	Name      string
	Arguments string // a JSON object
}

// Responder returns the answer to a request. It must be safe for concurrent use,
// and deterministic where tests compare answers.
type Responder func(Request) Reply

// Echo answers with the last user message, so that a client sees the text that
// reached the engine.
func Echo(r Request) Reply { return Reply{Text: r.LastUser} }

// Text answers every request with the same text.
func Text(text string) Responder {
	return func(Request) Reply { return Reply{Text: text} }
}

// Words answers with words derived from the prompt: tokens tokens with the end of
// sequence, fewer if the request allows fewer.
func Words(tokens int) Responder {
	return func(r Request) Reply { return Reply{Text: words(r.Seed, min(tokens, r.MaxTokens)-1)} }
}

// vocabulary has words of three letters: with the space, each is one token.
var vocabulary = strings.Fields("the old man and his dog sat out one hot day far off for any new sun who can see how two red and big sky low sea")

// words returns text of so many tokens.
func words(seed uint64, tokens int) string {
	var b strings.Builder
	for range tokens {
		seed = seed*6364136223846793005 + 1442695040888963407
		b.WriteString(vocabulary[(seed>>33)%uint64(len(vocabulary))])
		b.WriteByte(' ')
	}
	return b.String()
}

// output is a reply as the engine generates it: its tokens, and the text that each
// token completes.
type output struct {
	tokens    []uint32
	parts     []outPart
	truncated bool // max_tokens came before the end
}

// outPart is the text of an answer, or one tool call of it.
type outPart struct {
	call *ToolCall // nil: text
	text string    // the text, or the call's arguments
	open int       // tokens after which the part begins
	from int       // tokens before its text
	ends []int32   // ends[i]: bytes of text readable with token from+i
}

// generate turns a reply into at most limit output tokens.
func generate(reply Reply, limit int) output {
	var out output
	reply.Text = strings.ToValidUTF8(reply.Text, "\uFFFD")
	if reply.Text != "" || len(reply.ToolCalls) == 0 {
		out.addText(outPart{text: reply.Text})
	}
	for i := range reply.ToolCalls {
		call := &ToolCall{
			Name:      strings.ToValidUTF8(reply.ToolCalls[i].Name, "\uFFFD"),
			Arguments: strings.ToValidUTF8(reply.ToolCalls[i].Arguments, "\uFFFD"),
		}
		out.tokens = AppendTokens(append(out.tokens, tokenCall), call.Name+"\n")
		out.addText(outPart{call: call, text: call.Arguments, open: len(out.tokens)})
		out.tokens = append(out.tokens, tokenCallEnd)
	}
	out.tokens = append(out.tokens, tokenEnd)
	if len(out.tokens) > limit {
		out.tokens, out.truncated = out.tokens[:limit], true
	}
	return out
}

func (o *output) addText(p outPart) {
	p.from = len(o.tokens)
	o.tokens = AppendTokens(o.tokens, p.text)
	end := int32(0)
	for _, t := range o.tokens[p.from:] {
		end += int32(textLen(t))
		p.ends = append(p.ends, end)
	}
	o.parts = append(o.parts, p)
}

// readable returns the part's text after so many tokens.
func (p *outPart) readable(produced int) string {
	n := min(produced-p.from, len(p.ends))
	if n <= 0 {
		return ""
	}
	return p.text[:p.ends[n-1]]
}

// opened reports whether the part has begun after so many tokens.
func (p *outPart) opened(produced int) bool {
	return produced >= max(p.open, 1)
}
