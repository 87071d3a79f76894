// SPDX-License-Identifier: Apache-2.0

package janitor

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/bauxite/caddy-kvaware/janitor/pii"
	"github.com/caddyserver/caddy/v2"
)

// parts returns a chat request with a user message in text parts.
func partsOf(texts ...string) string {
	var list []string
	for _, text := range texts {
		list = append(list, `{"type":"text","text":`+mustJSON(text)+`}`)
	}
	return `{"messages":[{"role":"user","content":[` + strings.Join(list, ",") + `]}]}`
}

// partTexts returns the texts of the parts of such a request.
func partTexts(t testing.TB, body string) []string {
	t.Helper()
	var v struct {
		Messages []struct{ Content []struct{ Text string } }
	}
	if err := json.Unmarshal([]byte(body), &v); err != nil {
		t.Fatal(err)
	}
	var texts []string
	for _, p := range v.Messages[0].Content {
		texts = append(texts, p.Text)
	}
	return texts
}

// A value that is split over the parts of a message, at any bytes, is one finding:
// its placeholder is in the first part, nothing of it is in the others, and the
// words around it are unchanged.
func TestSplitValues(t *testing.T) {
	h := newHandler(t)
	for value, want := range map[string]string{
		mail: "[EMAIL_1]", "4539 1488 0343 6467": "[CARD_1]", ssn: "[SSN_1]", "DE89370400440532013000": "[IBAN_1]",
	} {
		before, after := "my ssn and \"card\" é ", ", as I said é"
		for i := 1; i < len(value); i++ {
			got := strings.Join(partTexts(t, forwarded(t, h, chatPath, partsOf(before+value[:i], value[i:]+after))), "|")
			if joined := strings.Replace(got, "|", "", 1); joined != before+want+after {
				t.Errorf("%s split at %d: %s", value, i, got)
			}
			for j := i + 1; j < len(value); j++ {
				got := strings.Join(partTexts(t, forwarded(t, h, chatPath, partsOf(before+value[:i], value[i:j], value[j:]+after))), "")
				if got != before+want+after {
					t.Errorf("%s split at %d and %d: %s", value, i, j, got)
				}
			}
		}
	}
}

// The answer gets the whole value of a split finding.
func TestSplitRestored(t *testing.T) {
	h := newHandler(t)
	e := &engine{answer: answerJSON(`{"a":"[EMAIL_1]"}`)}
	w := serveTo(t, h, newRequest("POST", chatPath, strings.NewReader(partsOf("to john.", "doe@exam", "ple.org now"))), e)
	if w.Body.String() != `{"a":"`+mail+`"}` || e.exchange.findings != 1 {
		t.Errorf("answered %s, %d findings", w.Body, e.exchange.findings)
	}
}

// Parts that look like a value only together with words of other parts are
// unchanged.
func TestSeamsAreNoValues(t *testing.T) {
	h := newHandler(t)
	for _, texts := range [][]string{
		{"write to " + mail, "Then wait."},
		{mail, mail2},
		{"a@", "b"},
		{"", mail, ""},
		{"see " + mail + " ", " " + mail2},
	} {
		got := strings.Join(partTexts(t, forwarded(t, h, chatPath, partsOf(texts...))), "|")
		want := strings.NewReplacer(mail, "[EMAIL_1]", mail2, "[EMAIL_2]").Replace(strings.Join(texts, "|"))
		if got != want {
			t.Errorf("%q became %s, want %s", texts, got, want)
		}
	}
}

// seamCounter is a recognizer that counts the bytes it is given.
type seamCounter struct{}

var seamBytes int

func (seamCounter) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "pii_janitor.recognizers.test_seam_counter", New: func() caddy.Module { return new(seamCounter) }}
}
func (seamCounter) Name() string       { return "test_seam_counter" }
func (seamCounter) Entity() pii.Entity { return "SEAM" }
func (seamCounter) Find(text []byte, dst []pii.Span) []pii.Span {
	seamBytes += len(text)
	return dst
}

func init() { caddy.RegisterModule(seamCounter{}) }

// However many parts a message has, its bytes are scanned twice at most: within
// the parts and across the seams.
func TestManySeams(t *testing.T) {
	h := newHandler(t, func(h *Handler) { h.Recognizers = []string{"+test_seam_counter"} })
	for _, n := range []int{1, 100, 20_000} {
		texts, size := make([]string, n), 0
		for i := range texts {
			texts[i] = []string{"4539", "a@b.", "org ", "1488"}[i%4]
			size += len(texts[i])
		}
		seamBytes = 0
		serve(t, h, newRequest("POST", chatPath, strings.NewReader(partsOf(texts...))))
		if seamBytes < size || seamBytes > 2*size+1000 {
			t.Errorf("%d parts of %d bytes: %d bytes were scanned", n, size, seamBytes)
		}
	}
}
