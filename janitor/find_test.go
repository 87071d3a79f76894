// SPDX-License-Identifier: Apache-2.0

package janitor

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

// parts is a chat request whose user message comes in text parts.
func partsOf(texts ...string) string {
	var list []string
	for _, text := range texts {
		list = append(list, `{"type":"text","text":`+mustJSON(text)+`}`)
	}
	return `{"messages":[{"role":"user","content":[` + strings.Join(list, ",") + `]}]}`
}

// partTexts are the texts of the parts of such a request.
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

// TestSplitValues: a value that is split over the parts of a message, at
// whatever bytes, is one finding: its placeholder in the first part, nothing
// of it in the others, and the words around it untouched.
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

// TestSplitRestored: the answer gets the whole value back.
func TestSplitRestored(t *testing.T) {
	h := newHandler(t)
	e := &engine{answer: answerJSON(`{"a":"[EMAIL_1]"}`)}
	w := serveTo(t, h, newRequest("POST", chatPath, strings.NewReader(partsOf("to john.", "doe@exam", "ple.org now"))), e)
	if w.Body.String() != `{"a":"`+mail+`"}` || e.exchange.findings != 1 {
		t.Errorf("answered %s, %d findings", w.Body, e.exchange.findings)
	}
}

// TestSeamsAreNoValues: parts that only look like a value together with words
// of their neighbours lose nothing.
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

// TestManySeams: a message of very many small parts costs what its size says.
func TestManySeams(t *testing.T) {
	h := newHandler(t)
	cost := func(n int) time.Duration {
		texts := make([]string, n)
		for i := range texts {
			texts[i] = []string{"4539", "a@b.", "org ", "1488"}[i%4]
		}
		body := partsOf(texts...)
		begin := time.Now()
		serve(t, h, newRequest("POST", chatPath, strings.NewReader(body)))
		return time.Since(begin)
	}
	cost(1_000) // warm
	small, large := cost(5_000), cost(20_000)
	if large > 12*small && large > time.Second {
		t.Errorf("%v for 5,000 parts, %v for 20,000", small, large)
	}
}
