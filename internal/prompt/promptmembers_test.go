// SPDX-License-Identifier: Apache-2.0

package prompt

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// rowFixture is a document that was parsed with some members more.
type rowFixture struct {
	rendition, variant string
	noCache, doubtful  bool
}

func parseRow(t *testing.T, api API, members string) (f rowFixture) {
	t.Helper()
	if members != "" {
		members += ","
	}
	body := `{` + members + `"messages":[{"role":"user","content":"hi"}]}`
	if api == Completions {
		body = `{` + members + `"prompt":"hi"}`
	}
	var d Document
	if err := d.Parse(api, []byte(body)); err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	f.rendition = renderText(&d)
	d.RenderVariant(func(chunk []byte) { f.variant += string(chunk) })
	f.noCache, f.doubtful = d.NoCache, d.Doubtful
	if (f.variant != "") != d.HasVariant {
		t.Errorf("%s: HasVariant is %v for %q", body, d.HasVariant, f.variant)
	}
	return f
}

func renderText(d *Document) (s string) {
	d.Render(func(_ int32, chunk []byte) bool {
		s += string(chunk)
		return true
	})
	return s
}

// beside returns the members of a row's example without the one that it is about.
func (m *promptMember) beside(example string) string {
	if m.with != nameTools {
		return ""
	}
	tools, _, _ := strings.Cut(example, `,"tool_choice"`)
	return tools
}

// Every row's first example has the effect that it says, and the second has none.
func TestPromptMembers(t *testing.T) {
	for i := range promptMembers {
		m := &promptMembers[i]
		api := m.api
		if api == Unknown {
			api = Chat
		}
		if m.effect == effectNone {
			if m.changes != "" || m.keeps == "" {
				t.Errorf("%s: wrong examples", m.member)
			}
		} else if f, plain := parseRow(t, api, m.changes), parseRow(t, api, m.beside(m.changes)); true {
			want := plain
			switch m.effect {
			case effectStart:
				want.rendition = f.rendition
				if f.rendition == plain.rendition || !strings.HasSuffix(f.rendition, plain.rendition) {
					t.Errorf("%s does not change the start: %q", m.member, f.rendition)
				}
			case effectNoCache:
				want.noCache = true
			default:
				want.variant, want.doubtful = f.variant, m.effect == effectDoubt
				if f.variant == "" {
					t.Errorf("%s makes no variant", m.member)
				}
			}
			if f != want {
				t.Errorf("%s: %+v, want %+v", m.changes, f, want)
			}
		}
		if f, plain := parseRow(t, api, m.keeps), parseRow(t, api, m.beside(m.keeps)); f != plain {
			t.Errorf("%s: %+v, want %+v", m.keeps, f, plain)
		}
	}
}

// Rows that no engine heeds have no effect, and every effect is heeded by one.
func TestPromptMembersNameAnEngine(t *testing.T) {
	for _, m := range promptMembers {
		if heeded := m.vLLM+m.sglang+m.llamaCpp != ""; m.effect != effectNone && !heeded {
			t.Errorf("%s has an effect on no engine", m.member)
		}
	}
}

// Two variants differ when one of their members does, and not by its spelling.
func TestVariantsDiffer(t *testing.T) {
	seen := map[string]string{"": ""}
	for _, m := range promptMembers {
		if m.effect != effectVariant && m.effect != effectDoubt {
			continue
		}
		v := parseRow(t, Chat, m.changes).variant
		if other, twice := seen[v]; twice {
			t.Errorf("%s has the variant of %q", m.changes, other)
		}
		seen[v] = m.changes
	}
	a := parseRow(t, Chat, `"response_format":{"type":"json_schema","json_schema":{"name":"a"}}`)
	b := parseRow(t, Chat, `"response_format": { "type":"json_\u0073chema", "json_schema":{"name":"a"} }`)
	if a.variant != b.variant {
		t.Errorf("%q and %q", a.variant, b.variant)
	}
	auto := parseRow(t, Messages, `"tools":[{"name":"f"}],"tool_choice":{"type":"auto"}`)
	tool := parseRow(t, Messages, `"tools":[{"name":"f"}],"tool_choice":{"type":"tool","name":"f"}`)
	if auto.variant != "" || auto.doubtful || !tool.doubtful {
		t.Errorf("%+v and %+v", auto, tool)
	}
	if none := parseRow(t, Chat, `"tool_choice":"none"`); none.doubtful || none.variant != "" {
		t.Errorf("a choice without tools: %+v", none)
	}
}

// A variant is made of what the scrubber has left.
func TestVariantIsOfTheScrubbedBody(t *testing.T) {
	var d Document
	body := []byte(`{"messages":[{"role":"user","content":"hi"}],"response_format":{"type":"json_schema","json_schema":{"description":"secret"}}}`)
	if err := d.Parse(Chat, body); err != nil {
		t.Fatal(err)
	}
	at := slices.IndexFunc(d.Texts, func(x Text) bool { return string(d.Body[x.Start:x.End]) == "secret" })
	if at < 0 {
		t.Fatal("the description is not scrubbed")
	}
	d.Splice([]Edit{{d.Texts[at].Start, d.Texts[at].End, []byte("[SECRET_1]")}}, nil)
	variant := ""
	d.RenderVariant(func(chunk []byte) { variant += string(chunk) })
	if strings.Contains(variant, "secret") || !strings.Contains(variant, "[SECRET_1]") || !strings.HasSuffix(variant, "}}") {
		t.Errorf("%q", variant)
	}
}

// The table in docs/prompts.md is the one in the code.
func TestPromptMembersAreDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/prompts.md")
	if err != nil {
		t.Fatal(err)
	}
	or := func(s string) string {
		if s == "" {
			return "-"
		}
		return s
	}
	names := [...]string{effectNone: "-", effectStart: "start", effectVariant: "variant", effectDoubt: "variant, in doubt", effectNoCache: "no cache"}
	want := "| member | treated as | vLLM | SGLang | llama.cpp |\n|---|---|---|---|---|\n"
	for _, m := range promptMembers {
		member := "`" + m.member + "`"
		if m.api != Unknown {
			member += " (" + m.api.String() + ")"
		}
		want += "| " + member + " | " + names[m.effect] + " | " + or(m.vLLM) + " | " + or(m.sglang) + " | " + or(m.llamaCpp) + " |\n"
	}
	if !strings.Contains(string(text), want) {
		t.Errorf("docs/prompts.md must contain:\n%s", want)
	}
}
