// SPDX-License-Identifier: Apache-2.0

// Package baseline compares the scanner of janitor/pii with the usual tools:
// regular expressions of the standard library, one after the other and as one
// union, and RE2 compiled to WebAssembly. It is a module of its own, so that
// the product does not depend on them.
package baseline

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/wasilibs/go-re2"

	"github.com/bauxite/caddy-kvaware/janitor/pii"
)

// expressions are twelve such as scrubbers publish: without check digits,
// ranges or context words.
var expressions = []string{
	`[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+\.[A-Za-z]{2,}`,
	`\b(?:\d[ -]?){13,19}\b`,
	`\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,4})?\b`,
	`\b\d{3}-\d{2}-\d{4}\b`,
	`(?:\+\d{1,3}[ .-]?)?\(?\d{3}\)?[ .-]?\d{3}[ .-]?\d{4}\b`,
	`\b(?:\d{1,3}\.){3}\d{1,3}\b`,
	`\bgh[pousr]_[A-Za-z0-9]{36}\b`,
	`\b(?:AKIA|ASIA)[A-Z0-9]{16}\b`,
	`\bsk-[A-Za-z0-9]{20,}\b`,
	`\bxox[baprs]-[A-Za-z0-9-]{10,}`,
	`\beyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+`,
	`(?i)(?:password|secret|token|api_?key)["']?\s*[:=]\s*["']?[^\s"']{8,}`,
}

const textSize = 1 << 20

var vocabulary = strings.Fields(`the a of to and in is that for it with as was on are by this be from at which or an can when
	cache memory request server prompt token model prefix block upstream response latency throughput scheduling queue
	because therefore however although between through without against performance implementation configuration`)

// prose is English with one finding in every so many words; zero means none.
func prose(every int) []byte {
	rnd := rand.New(rand.NewPCG(1, 2))
	values := []string{"ann.smith@example.org", "4012888888881881", "(415) 555-0132", "81.2.69.142", "078-05-1123",
		"GB82 WEST 1234 5698 7654 32", "gh" + "p_wWPw5k4aXcaT4fNP0UcnZwJUVFk6LO0pINUx"}
	b := make([]byte, 0, textSize+64)
	for n := 0; len(b) < textSize; n++ {
		switch {
		case every > 0 && n%every == every-1:
			b = append(b, values[rnd.IntN(len(values))]...)
		case n%57 == 56:
			b = fmt.Appendf(b, "%d", rnd.IntN(4000))
		default:
			b = append(b, vocabulary[rnd.IntN(len(vocabulary))]...)
		}
		b = append(b, ' ')
	}
	return b[:textSize]
}

// cpuTime is the processor time of this process, user and system.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// finder counts the findings in a text.
type finder func(text []byte) int

func finders(b *testing.B) map[string]finder {
	s, err := pii.New(pii.Options{})
	if err != nil {
		b.Fatal(err)
	}
	var spans []pii.Span
	var each []*regexp.Regexp
	for _, e := range expressions {
		each = append(each, regexp.MustCompile(e))
	}
	union := "(?:" + strings.Join(expressions, ")|(?:") + ")"
	one, wasm := regexp.MustCompile(union), re2.MustCompile(union)
	return map[string]finder{
		"pii": func(text []byte) int {
			spans = s.Scan(text, spans[:0])
			return len(spans)
		},
		"regexp-each": func(text []byte) (n int) {
			for _, re := range each {
				n += len(re.FindAllIndex(text, -1))
			}
			return n
		},
		"regexp-union": func(text []byte) int { return len(one.FindAllIndex(text, -1)) },
		"go-re2-union": func(text []byte) int { return len(wasm.FindAllIndex(text, -1)) },
	}
}

func BenchmarkFinders(b *testing.B) {
	for _, shape := range []struct {
		name  string
		every int
	}{{"clean", 0}, {"1%-pii", 100}} {
		text := prose(shape.every)
		all := finders(b)
		for _, name := range []string{"pii", "regexp-each", "regexp-union", "go-re2-union"} {
			b.Run(shape.name+"/"+name, func(b *testing.B) {
				find := all[name]
				if n := find(text); shape.every > 0 && n == 0 {
					b.Fatal("found nothing")
				}
				b.SetBytes(int64(len(text)))
				start := cpuTime()
				for b.Loop() {
					find(text)
				}
				b.ReportMetric(float64(b.N)*float64(len(text))/1e6/(cpuTime()-start).Seconds(), "MB/cpu-s")
			})
		}
	}
}
