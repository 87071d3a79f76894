// SPDX-License-Identifier: Apache-2.0

package janitor

import (
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/bauxite/caddy-kvaware/internal/prompt"
)

// rules returns an option of newHandler.
func rules(list ...EngineMemberRule) func(*Handler) {
	return func(h *Handler) { h.EngineMembers = list }
}

// What steers an engine does not reach it, in any mode, and the rest of the body
// does, byte for byte.
func TestEngineMembersAreStripped(t *testing.T) {
	const steered = `{"kv_transfer_params":{"do_remote_prefill":true,"lmcache.tag.x":"` + mail + `"}, "model":"m",` +
		`"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"https://h/i.png"},"uuid":"u"},{"type":"text","text":"TEXT"}]}],` +
		`"bootstrap_host":["h"] , "vllm_xargs":{"kv_cache_report_mode":"full","mine":[1]}, "stream":true}`
	const clean = `{"model":"m",` +
		`"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"https://h/i.png"}},{"type":"text","text":"TEXT"}]}] , "vllm_xargs":{"mine":[1]}, "stream":true}`
	for _, text := range []string{"clean", "mail to " + mail} {
		for mode, hidden := range map[string]string{"placeholder": "[EMAIL_1]", "redact": "[REDACTED]", "detect": mail} {
			h := newHandler(t, func(h *Handler) { h.Mode = mode })
			before := counted(t, "caddy_pii_janitor_engine_members_total", "strip")
			e := &engine{answer: answerJSON(`{}`)}
			var signature, wanted Signature
			e.answer = func(_ http.ResponseWriter, r *http.Request) error {
				signature, _ = e.exchange.Sign([]byte("k"), "m", "", 16, 0)
				e.exchange.AskUsage()
				e.exchange.Attach(r)
				want := strings.Replace(strings.Replace(clean, "TEXT", text, 1), mail, hidden, 1)
				if got := readAttached(t, r); got != `{"stream_options":{"include_usage":true},`+want[1:] {
					t.Errorf("%s %s: the engine gets %s, want %s", mode, text, got, want)
				}
				return nil
			}
			serveTo(t, h, newRequest("POST", chatPath, strings.NewReader(strings.Replace(steered, "TEXT", text, 1))), e)
			other := &engine{}
			other.answer = func(http.ResponseWriter, *http.Request) error {
				wanted, _ = other.exchange.Sign([]byte("k"), "m", "", 16, 0)
				return nil
			}
			serveTo(t, h, newRequest("POST", chatPath, strings.NewReader(strings.Replace(clean, "TEXT", text, 1))), other)
			if !slices.Equal(signature.Chain(), wanted.Chain()) || signature.PromptBytes() != wanted.PromptBytes() || len(wanted.Chain()) == 0 {
				t.Errorf("%s %s: the signature is not that of the clean body", mode, text)
			}
			if n := counted(t, "caddy_pii_janitor_engine_members_total", "strip") - before; n != 1 {
				t.Errorf("%s: counted %v of the first member", mode, n)
			}
		}
	}
}

func TestEngineMemberRules(t *testing.T) {
	const body = `{"prompt":"x","bootstrap_host":"h","bootstrap_port":1,"kv_transfer_params":{}}`
	for _, c := range []struct {
		name    string
		rules   []EngineMemberRule
		want    string // the body; "": refused
		refused string
	}{
		{"default", nil, `{"prompt":"x"}`, ""},
		{"strip", []EngineMemberRule{{Mode: "strip"}}, `{"prompt":"x"}`, ""},
		{"pass", []EngineMemberRule{{Mode: "pass"}}, body, ""},
		{"refuse", []EngineMemberRule{{Mode: "refuse"}}, "", "bootstrap_host"},
		{"one passes", []EngineMemberRule{{Mode: "pass", Names: []string{"kv_transfer_params"}}}, `{"prompt":"x","kv_transfer_params":{}}`, ""},
		{"one is refused", []EngineMemberRule{{Mode: "refuse", Names: []string{"bootstrap_port"}}}, "", "bootstrap_port"},
		{"the last rule wins", []EngineMemberRule{{Mode: "refuse"}, {Mode: "pass", Names: []string{"bootstrap_host"}}, {Mode: "strip", Names: []string{"bootstrap_port", "kv_transfer_params"}}},
			`{"prompt":"x","bootstrap_host":"h"}`, ""},
		{"a rule for all comes last", []EngineMemberRule{{Mode: "refuse", Names: []string{"bootstrap_port"}}, {Mode: "strip"}}, `{"prompt":"x"}`, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHandler(t, rules(c.rules...))
			w, e := serve(t, h, newRequest("POST", "/v1/completions", strings.NewReader(body)))
			if got := string(e.body); got != c.want {
				t.Errorf("forwarded %q, want %q", got, c.want)
			}
			if c.refused != "" && (w.Code != 400 || !strings.Contains(w.Body.String(), `"param":"`+c.refused+`"`)) {
				t.Errorf("%d %s", w.Code, w.Body)
			}
		})
	}
}

func TestEngineHeaders(t *testing.T) {
	sent := http.Header{
		"X-Data-Parallel-Rank": {"1"}, "X-Prefiller-Host-Port": {"h:1", "h:2"}, "X-Kv-Cache-Source-Host-Port": {"h:1"},
		"X-Vllm-Priority": {"-9"}, "X-Encoder-Hosts-Ports": {"h:1"}, "X-Data-Parallel-Host-Port": {"h:1"}, "X-Prefiller-Url": {"http://h"},
		"X-Llm-D-Prefiller-Host-Port": {"h:1"}, "X-Llm-D-Encoder-Hosts-Ports": {"h:1"}, "X-Llm-D-Kv-Cache-Source-Host-Port": {"h:1"},
		"X-Override-Bootstrap-Host": {"h"}, "X-Override-Rid": {"r"}, "X-Override-Something-New": {"x"},
		"X-Request-Id": {"___prefill_addr_h:1___decode_addr_h:2_0"},
	}
	for _, c := range []struct {
		method, path, body string
		rules              []EngineMemberRule
		left               []string // of the headers sent
		status             int
	}{
		{"POST", chatPath, chat("x"), nil, nil, 200},
		{"GET", "/v1/models", "", nil, nil, 200},
		{"GET", "/v1/models", "", []EngineMemberRule{{Mode: "pass", Names: []string{"x-vllm-priority", "x-override-*", "request_id"}}},
			[]string{"X-Override-Bootstrap-Host", "X-Override-Rid", "X-Override-Something-New", "X-Request-Id", "X-Vllm-Priority"}, 200},
		{"GET", "/v1/models", "", []EngineMemberRule{{Mode: "pass"}}, slices.Sorted(maps.Keys(sent)), 200},
		{"GET", "/v1/models", "", []EngineMemberRule{{Mode: "refuse", Names: []string{"x-prefiller-host-port"}}}, nil, 400},
		{"POST", chatPath, chat("x"), []EngineMemberRule{{Mode: "refuse"}}, nil, 400},
	} {
		h := newHandler(t, rules(c.rules...))
		r := newRequest(c.method, c.path, strings.NewReader(c.body))
		maps.Copy(r.Header, sent)
		r.Header.Set("X-Mine", "1")
		w, e := serve(t, h, r)
		var left []string
		for name := range e.header {
			if _, ok := sent[name]; ok {
				left = append(left, name)
			}
		}
		slices.Sort(left)
		if w.Code != c.status || !slices.Equal(left, c.left) || e.called && e.header.Get("X-Mine") != "1" {
			t.Errorf("%s %s %+v: %d, left %v, want %d and %v", c.method, c.path, c.rules, w.Code, left, c.status, c.left)
		}
	}
	// An ordinary ID goes on.
	r := newRequest("GET", "/v1/models", nil)
	r.Header.Set("X-Request-Id", "mine")
	if _, e := serve(t, newHandler(t), r); e.header.Get("X-Request-Id") != "mine" {
		t.Error("the request's ID is gone")
	}
}

// Every name has a mode of its own.
func TestEngineMemberNames(t *testing.T) {
	names := engineMemberNames()
	if len(names) < 30 || !slices.IsSorted(names) {
		t.Errorf("%d names: %v", len(names), names)
	}
	for _, name := range names {
		s := newSteering([]EngineMemberRule{{Mode: "pass", Names: []string{name}}})
		passes := 0
		for m := range prompt.NumEngineMembers {
			if !s.take.Has(m) {
				passes++
			}
		}
		if passes > 1 || s.headers[name] != membersPass || (s.management == membersPass) != (name == management) {
			t.Errorf("%s: %+v", name, s)
		}
	}
}

// The documents describe every name.
func TestEngineMembersAreDocumented(t *testing.T) {
	text, err := os.ReadFile("../docs/scrubbing.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "## What steers an engine")
	section, _, _ = strings.Cut(section, "\n## ")
	for _, name := range engineMemberNames() {
		if !strings.Contains(section, "`"+name+"`") {
			t.Errorf("%s is missing", name)
		}
	}
}

// A client that reads nothing before it has sent its whole body gets the refusal
// of its head, and then the connection ends.
func TestRefusedHeadIsAnswered(t *testing.T) {
	_, addr, _ := newServer(t, rules(EngineMemberRule{Mode: "refuse"}))
	for _, size := range []int{10, 3_000_000} {
		for _, announced := range []int{size, -1} {
			c := dialPlain(t, addr)
			if err := c.send("X-Prefiller-Host-Port: h:1\r\n", announced, size); err != nil {
				t.Errorf("%d bytes, announced %d: %v", size, announced, err)
				continue
			}
			if got := c.status(); got != http.StatusBadRequest {
				t.Errorf("%d bytes, announced %d: status %d", size, announced, got)
			}
		}
	}
}

// Taking engine members out and replacing values in one go gives what one after
// the other gives, in each mode.
func TestStripAndScrub(t *testing.T) {
	r := rand.New(rand.NewPCG(51, 52))
	value := func() string {
		return [...]string{`"` + mail + `"`, `"` + mail2 + ` x"`, `1`, `{"a":"` + mail + `"}`, `["` + mail2 + `",2]`, `null`}[r.IntN(6)]
	}
	rounds := 600
	if testing.Short() {
		rounds = 150
	}
	for round := range rounds {
		names := []string{"kv_transfer_params", "bootstrap_host", "metadata", "user", "session_params", "note", "mm_hashes"}
		r.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
		members := []string{`"messages":[{"role":"user","content":[{"type":"image_url","uuid":` + value() + `,"image_url":{"url":"https://h/` + mail + `"}},{"type":"text","text":"to ` + mail2 + `"}]}]`}
		for _, name := range names[:r.IntN(len(names)+1)] {
			members = append(members, `"`+name+`" : `+value())
		}
		members = append(members, `"vllm_xargs":{"x":`+value()+`,"kv_cache_report_mode":`+value()+`,"y":`+value()+`}`)
		r.Shuffle(len(members), func(i, j int) { members[i], members[j] = members[j], members[i] })
		body := "{" + strings.Join(members, " , ") + "}"

		mode := modeNames[[...]int{int(modePlaceholder), int(modeRedact), int(modeDetect)}[round%3]]
		configure := func(h *Handler) { h.Mode = mode }
		var d prompt.Document
		if err := d.ParseWithout(prompt.Chat, []byte(body), prompt.AllEngineMembers); err != nil {
			t.Fatal(err)
		}
		edits := removals(&d)
		slices.SortFunc(edits, func(a, b prompt.Edit) int { return a.Start - b.Start })
		stripped := string(prompt.Splice([]byte(body), edits, nil))
		passing := newHandler(t, configure, rules(EngineMemberRule{Mode: "pass"}))
		want := forwarded(t, passing, chatPath, stripped)
		if got := forwarded(t, newHandler(t, configure), chatPath, body); got != want {
			t.Fatalf("%s: %s\nbecame\n%s\nwant\n%s", mode, body, got, want)
		}
	}
}
