// SPDX-License-Identifier: Apache-2.0

package pii

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"
)

// validate checks what every result of Scan must be: in range, sorted, not
// overlapping, on rune boundaries.
func validate(text []byte, spans []Span) error {
	end := 0
	for i, sp := range spans {
		switch {
		case sp.Start < 0 || sp.End > len(text) || sp.Start >= sp.End:
			return fmt.Errorf("span %d: %v is out of range", i, sp)
		case sp.Start < end:
			return fmt.Errorf("span %d: %v overlaps the one before", i, sp)
		case splitsRune(text, sp.Start) || sp.End < len(text) && splitsRune(text, sp.End):
			return fmt.Errorf("span %d: %v splits a rune", i, sp)
		case !validEntity(sp.Entity):
			return fmt.Errorf("span %d: entity %q", i, sp.Entity)
		}
		end = sp.End
	}
	return nil
}

// scrub replaces the findings as the janitor does, numbered or keyed.
func scrub(s *Scanner, text []byte, keyed bool) []byte {
	var out []byte
	from := 0
	for i, sp := range s.Scan(text, nil) {
		out = append(out, text[from:sp.Start]...)
		if keyed {
			out = fmt.Appendf(out, "[%s_%06x]", sp.Entity, i*7919+1)
		} else {
			out = fmt.Appendf(out, "[%s_%d]", sp.Entity, i+1)
		}
		from = sp.End
	}
	return append(out, text[from:]...)
}

// pieces make up random texts: findings, near misses, context words, and all
// that stands between.
var pieces = []string{
	"bob@example.com", "a@b.co", "用户@例子.公司", "bob＠example.com", "4012888888881881", "4012-8888-8888-1881", "378282246310005",
	"GB82 WEST 1234 5698 7654 32", "DE89370400440532013000", "078-05-1123", "078051123", "911-70-1234", "+1 415 555 0132",
	"(415) 555-0132", "415-555-0132", "06 12 34 56 78", "030-123456", "8.8.8.8", "81.2.69.142", "2001:4860:4860::8888", "10.0.0.1",
	"00:1a:2b:3c:4d:5e", "0012.3456.789a", "AA-BB-CC-DD-EE-FF", "44051401458", "221 395 1837", "AB123456C", "AB 12 34 56 C",
	"12345678Z", "S2740116C", "123.456.789-09", "131052-308T", "gh" + "p_wWPw5k4aXcaT4fNP0UcnZwJUVFk6LO0pINUx", "AK" + "IAQWERTYUIOP234567",
	"sk_" + "live_4eC39HqLyjWDarjtT1zdp7dc", "hf_" + "RdeidRutJuADoVDqPyuIodVhcFnZIqXAfb", "password=hunter2!", `"api_key": "a8Fk29dKq01LzPw73bXc"`,
	"https://bob:s3cret@example.com/", "Authorization: Bearer mF9B5f41JqMx7", "<token>a8Fk29dKq01LzPw73bXc</token>",
	"eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJsb2dnZWRJbkFzIjoiYWRtaW4ifQ.gzSraSYS8EXBxLN_oWnF",
	"-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASC\n-----END PRIVATE KEY-----",
	"1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2", "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed", "12 March 1980", "1980-03-12", "X1234567", "A56319335",
	"phone", "call", "Phone:", "card", "ssn", "iban", "passport", "driver's license", "born", "version", "section", "routing", "nhs", "ip",
	"[EMAIL_1]", "[CARD_7f3a9c]", "[REDACTED]", "[PHONE_12]", "[", "]", "_1]", "[SSN",
	" ", " ", " ", "\n", "\t", `\n`, `\t`, `\u003c`, `\\n`, ", ", ". ", ": ", "=", "-", "/", "@", "%40", "+", "(", ")", "\"", "'", "\\", "x", "1", "12", "2024", "abc", "é", "家",
	"\u200b", "\u00a0", "\u00ad", "\u0301", "ー", "\u3164", "１２", "٤", "𝟒", "\xff", "\xe2\x80", "1.", "::", "A", "0", "00", "#", "$", ";", "<", ">", "{", "}", "~", "Q~",
}

func randomText(rnd *rand.Rand, n int) []byte {
	var b []byte
	for range n {
		b = append(b, pieces[rnd.IntN(len(pieces))]...)
		if rnd.IntN(2) == 0 {
			b = append(b, ' ')
		}
	}
	return b
}

// checkText holds for every text: the result is well formed, does not depend
// on what is in dst, and a second pass over the scrubbed text finds nothing.
func checkText(s *Scanner, text []byte) error {
	spans := s.Scan(text, nil)
	if err := validate(text, spans); err != nil {
		return err
	}
	prior := []Span{{1, 2, "PRIOR"}}
	if again := s.Scan(text, prior); again[0] != prior[0] || !slices.Equal(again[1:], spans) {
		return fmt.Errorf("with spans in dst: %v, without: %v", again, spans)
	}
	for _, keyed := range []bool{false, true} {
		clean := scrub(s, text, keyed)
		if rest := s.Scan(clean, nil); len(rest) > 0 {
			return fmt.Errorf("scrubbed text %q still holds %s %q", clean, rest[0].Entity, clean[rest[0].Start:rest[0].End])
		}
	}
	return nil
}

func TestRandomTexts(t *testing.T) {
	s := scanner(t, Options{})
	rnd := rand.New(rand.NewPCG(11, 12))
	n := 30000
	if testing.Short() {
		n = 3000
	}
	for range n {
		text := randomText(rnd, 1+rnd.IntN(12))
		if err := checkText(s, text); err != nil {
			t.Fatalf("%q: %v\nspans %v", text, err, found(s, string(text)))
		}
	}
}

// TestOneFindingAtEveryOffset moves findings over the edges of blocks and the
// end of the text: the answer must not depend on where they lie.
func TestOneFindingAtEveryOffset(t *testing.T) {
	s := scanner(t, Options{})
	for _, value := range []string{"bob@example.com", "4012888888881881", "078-05-1123", "81.2.69.142", "2001:4860:4860::8888",
		"GB82WEST12345698765432", "gh" + "p_wWPw5k4aXcaT4fNP0UcnZwJUVFk6LO0pINUx", "(415) 555-0132", "00:1a:2b:3c:4d:5e"} {
		for before := range 140 {
			for _, after := range []int{0, 1, 70} {
				text := strings.Repeat("~ ", before/2) + strings.Repeat("~", before%2)
				if before > 0 {
					text = text[:before-1] + " "
				}
				start := len(text)
				text += value
				if after > 0 {
					text += " " + strings.Repeat("~", after-1)
				}
				spans := s.Scan([]byte(text), nil)
				if len(spans) != 1 || spans[0].Start != start || spans[0].End != start+len(value) {
					t.Fatalf("%s after %d bytes, before %d: %v", value, before, after, spans)
				}
			}
		}
	}
}

func TestScanIsPureAndConcurrent(t *testing.T) {
	s := scanner(t, Options{Patterns: map[string]string{"x": `x\d+`}})
	rnd := rand.New(rand.NewPCG(5, 1))
	texts := make([][]byte, 200)
	want := make([][]Span, len(texts))
	for i := range texts {
		texts[i] = randomText(rnd, 40)
		want[i] = s.Scan(texts[i], nil)
	}
	fresh := scanner(t, Options{Patterns: map[string]string{"x": `x\d+`}})
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for k := range texts {
				i := (k*7 + g*31) % len(texts)
				copyOf := bytes.Clone(texts[i])
				if got := fresh.Scan(texts[i], nil); !slices.Equal(got, want[i]) {
					t.Errorf("text %d: %v, then %v", i, want[i], got)
				}
				if !bytes.Equal(copyOf, texts[i]) {
					t.Errorf("text %d was changed", i)
				}
			}
		})
	}
	wg.Wait()
}

func FuzzScan(f *testing.F) {
	for _, p := range pieces {
		f.Add([]byte(p))
	}
	rnd := rand.New(rand.NewPCG(3, 3))
	for range 50 {
		f.Add(randomText(rnd, 8))
	}
	s, err := New(Options{Recognizers: []string{"+ip_private"}})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if err := checkText(s, text); err != nil {
			t.Fatalf("%v", err)
		}
		_ = utf8.Valid(text)
	})
}
