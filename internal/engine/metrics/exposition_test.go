// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"
)

// collect returns the samples of a page as text, in order.
func collect(page string, wanted func([]byte) bool) (all []string, err error) {
	err = readSamples(strings.NewReader(page), wanted, func(s *sample) error {
		all = append(all, describe(s))
		return nil
	})
	return all, err
}

func describe(s *sample) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s", s.name)
	for _, l := range s.labels {
		fmt.Fprintf(&b, "|%s=%q", l.name, l.value)
	}
	fmt.Fprintf(&b, "|%v", s.value)
	return b.String()
}

func every([]byte) bool { return true }

func TestReadSamples(t *testing.T) {
	for _, c := range []struct{ line, want string }{
		{"a 1", "a|1"},
		{"a\t1", "a|1"},
		{"a{} 1", "a|1"},
		{"a{}1", "a|1"},
		{`a:b_c{x="y"} 1.5`, `a:b_c|x="y"|1.5`},
		{`a {x="y",} 2`, `a|x="y"|2`},
		{`a{ x = "y" , z="" } +2e3  `, `a|x="y"|z=""|2000`},
		{`a{x="a\"b\\c\nd"} 2`, `a|x="a\"b\\c\nd"|2`},
		{`a{x="{,} 3"} 2`, `a|x="{,} 3"|2`},
		{"a 1 1700000000000", "a|1"},
		{"a 1 -5", "a|1"},
		{"a NaN", "a|NaN"},
		{"a +Inf", "a|+Inf"},
		{"# a comment 1", ""},
		{"", ""},
		{"   ", ""},
		{"7a x", ""}, // no name: skipped
	} {
		want := []string{}
		if c.want != "" {
			want = []string{c.want}
		}
		got, err := collect(c.line+"\n", every)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: %q, %v, want %q", c.line, got, err, c.want)
		}
	}
	for _, line := range []string{
		"a", "a ", "a x", "a 1 2 3", "a 1 x", "a 0x10", "a 1_0", "a{", `a{x} 1`, `a{x=} 1`, `a{x=y} 1`, `a{x="y} 1`, `a{x="y"`,
		`a{x="y" z="w"} 1`, `a{x="\q"} 1`, `a{x="\`, `a{,} 1`, `a{7="y"} 1`, "a-b 1", "a=1",
		"a " + strings.Repeat("1", maxNumber+1), "a{" + strings.Repeat(`x="y",`, maxLabels+1) + "} 1",
	} {
		if got, err := collect(line+"\n", every); !errors.Is(err, ErrSyntax) {
			t.Errorf("%q: %q, %v, want ErrSyntax", line, got, err)
		}
	}
}

func TestReadSamplesBounds(t *testing.T) {
	only := func(name []byte) bool { return string(name) == "a" }
	long := "b{x=\"" + strings.Repeat("y", 3*maxLine) + "\"} 1\n"
	if got, err := collect("a 1\n"+long+"a 2\n", only); err != nil || len(got) != 2 {
		t.Errorf("a long line of another series: %q, %v", got, err)
	}
	if _, err := collect("a{x=\""+strings.Repeat("y", maxLine)+"\"} 1\n", only); !errors.Is(err, ErrSyntax) {
		t.Errorf("a long line of a series that is read: %v", err)
	}
	if _, err := collect("a 12", only); !errors.Is(err, ErrSyntax) {
		t.Errorf("a line that is cut off: %v", err)
	}
	if got, err := collect("a 1\nb 12", only); err != nil || len(got) != 1 {
		t.Errorf("another series' line that is cut off: %q, %v", got, err)
	}
	if got, err := collect("a 1\nb"+strings.Repeat("x", 2*maxLine), only); err != nil || len(got) != 1 {
		t.Errorf("another series' long line that is cut off: %q, %v", got, err)
	}
	endless := io.MultiReader(strings.NewReader("a 1\n"), new(endlessLines))
	if err := readSamples(endless, only, func(*sample) error { return nil }); !errors.Is(err, ErrTooLarge) {
		t.Errorf("an endless page: %v", err)
	}
	if err := readSamples(io.MultiReader(strings.NewReader("a 1\n"), iotest.ErrReader(errors.New("secret"))), only, func(*sample) error { return nil }); !errors.Is(err, errTruncated) {
		t.Errorf("a page that breaks off: %v", err)
	}
	stop := errors.New("stop")
	if err := readSamples(strings.NewReader("a 1\na 2\n"), only, func(*sample) error { return stop }); err != stop {
		t.Errorf("a visitor that stops: %v", err)
	}
}

// endlessLines reads as the line "b 1" for ever.
type endlessLines int

var manyLines = strings.Repeat("b 1\n", 1<<14)

func (at *endlessLines) Read(p []byte) (int, error) {
	n := copy(p, manyLines[*at%4:])
	*at += endlessLines(n)
	return n, nil
}

// modelSample is the simplest parser: one regular expression for a line.
var modelSample = func() *regexp.Regexp {
	const name, space = `[a-zA-Z_:][a-zA-Z0-9_:]*`, `[ \t]*`
	const pair = space + name + space + `=` + space + `"(?:[^"\\]|\\["\\n])*"` + space
	const labels = space + `\{(?:` + pair + `(?:,` + pair + `)*,?)?` + space + `\}` + space
	return regexp.MustCompile(`^` + name + `(?:` + labels + `|[ \t]+)[^ \t]+(?:[ \t]+[+-]?[0-9]+)?` + space + `$`)
}()

// TestSamplesAgainstModel writes random samples in every way they may be
// written and reads them again.
func TestSamplesAgainstModel(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	space := func() string { return []string{"", "", " ", "\t", "  "}[rnd.IntN(5)] }
	escape := strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)
	alphabet := []rune("ab\"\\\n{},= é")
	for range 5000 {
		var line strings.Builder
		want := sample{name: []byte("vllm:x"), value: math.Round(rnd.Float64()*1e6) / 16}
		line.WriteString("vllm:x")
		if n := rnd.IntN(4); n > 0 || rnd.IntN(2) == 0 {
			line.WriteString(space() + "{")
			for i := range n {
				var value []rune
				for range rnd.IntN(6) {
					value = append(value, alphabet[rnd.IntN(len(alphabet))])
				}
				name := fmt.Sprint("l", i)
				want.labels = append(want.labels, label{[]byte(name), []byte(string(value))})
				fmt.Fprintf(&line, "%s%s%s=%s\"%s\"%s", space(), name, space(), space(), escape.Replace(string(value)), space())
				if i < n-1 || rnd.IntN(3) == 0 {
					line.WriteString(",")
				}
			}
			line.WriteString(space() + "}")
		}
		line.WriteString(" " + space() + strconv.FormatFloat(want.value, "gef"[rnd.IntN(3)], -1, 64))
		if rnd.IntN(3) == 0 {
			fmt.Fprintf(&line, " %d", rnd.Int64())
		}
		line.WriteString(space() + "\n")
		got, err := collect(line.String(), every)
		if err != nil || len(got) != 1 || got[0] != describe(&want) {
			t.Fatalf("%q: %q, %v, want %q", line.String(), got, err, describe(&want))
		}
	}
}

func FuzzReadMetrics(f *testing.F) {
	f.Add([]byte(vllmPage))
	f.Add([]byte(sglangPage))
	f.Add([]byte(llamaPage))
	f.Add([]byte("vllm:num_requests_waiting 1e400\nvllm:cache_config_info{num_gpu_blocks=\"None\"} 1\n"))
	f.Fuzz(func(t *testing.T, page []byte) {
		samples := 0
		err := readSamples(strings.NewReader(string(page)), every, func(s *sample) error {
			samples++
			if len(s.labels) > maxLabels || nameLength(s.name) != len(s.name) {
				t.Fatalf("sample %s", describe(s))
			}
			return nil
		})
		if err == nil {
			lines := 0
			for line := range strings.Lines(string(page)) {
				line = strings.TrimSuffix(line, "\n")
				if nameLength([]byte(line)) > 0 {
					lines++
					if m := modelSample.FindStringSubmatch(line); m == nil {
						t.Fatalf("the model does not take %q", line)
					}
				}
			}
			if lines != samples {
				t.Fatalf("%d samples, the model has %d", samples, lines)
			}
		}
		r, err := ReadMetrics(strings.NewReader(string(page)))
		switch {
		case err != nil:
			if r != (Reading{}) || !slices.Contains([]error{ErrTooLarge, ErrSyntax, ErrNoEngine}, err) {
				t.Fatalf("reading %+v with error %v", r, err)
			}
		case r.Engine == "" || r.Running < 0 || r.Waiting < 0 || r.Capacity < 0 || r.Started < 0 ||
			!(r.Usage >= 0 && r.Usage <= 1 || r.Usage == -1):
			t.Fatalf("reading %+v", r)
		}
	})
}
