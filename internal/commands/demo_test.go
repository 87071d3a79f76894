// SPDX-License-Identifier: Apache-2.0

package commands

import (
	"bytes"
	"io"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/bauxite/caddy-kvaware/janitor"
	_ "github.com/bauxite/caddy-kvaware/kvaware"
)

// smallDemo takes a few seconds, with faster engines.
var smallDemo = scale{
	engines:        3,
	documents:      12,
	documentTokens: 1000,
	conversations:  36,
	spread:         2 * time.Second,
	prefillRate:    40_000,
	cacheTokens:    6_000,
	answerTokens:   4,
}

// The whole command prints a table in which kv_aware has the better hit rate, and
// the suggested request works while the demo keeps serving.
func TestDemo(t *testing.T) {
	var out bytes.Buffer
	served := false
	size := smallDemo
	if testing.Short() {
		size.conversations, size.spread = size.conversations/2, size.spread/2
	}
	code, err := runDemo(demo{scale: size, once: true, out: &out, ready: func(urls []string) {
		served = true
		for _, url := range urls {
			resp, err := http.Post(url+"/v1/chat/completions", "", strings.NewReader(curlBody))
			if err != nil {
				t.Fatal(err)
			}
			answer, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if err != nil || resp.StatusCode != http.StatusOK {
				t.Fatalf("the suggested request: status %d, %v", resp.StatusCode, err)
			}
			if !strings.Contains(string(answer), "(EMAIL_1)") || !strings.Contains(string(answer), "jane.doe@example.com") {
				t.Fatalf("the answer lacks the placeholder or the restored value: %s", answer)
			}
		}
	}})
	if code != caddy.ExitCodeSuccess || err != nil {
		t.Fatalf("exit code %d, %v\n%s", code, err, out.String())
	}
	if !served {
		t.Fatal("it did not keep serving")
	}
	rate := func(policy string) int {
		m := regexp.MustCompile(policy + `\s+(\d+) %\s+\d+ ms\s+\d+ ms`).FindStringSubmatch(out.String())
		if m == nil {
			t.Fatalf("no row for %s in\n%s", policy, out.String())
		}
		n, _ := strconv.Atoi(m[1])
		return n
	}
	if ours, theirs := rate("kv_aware"), rate("round_robin"); ours <= theirs {
		t.Fatalf("hit rate %d %% against %d %%\n%s", ours, theirs, out.String())
	}
}

func TestWorkloadIsTheSameEachTime(t *testing.T) {
	a, b := newWorkload(smallDemo), newWorkload(smallDemo)
	if a.turns != b.turns || a.turns < smallDemo.conversations {
		t.Fatalf("%d and %d turns", a.turns, b.turns)
	}
	for i := range a.conversations {
		x, y := a.conversations[i], b.conversations[i]
		if x.begin != y.begin || !bytes.Equal(requestBody(x.opening), requestBody(y.opening)) || len(x.questions) != len(y.questions) {
			t.Fatalf("conversation %d differs", i)
		}
	}
}

func TestAPipeIsNoTerminal(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	if isTerminal(w) {
		t.Fatal("a pipe was taken for a terminal")
	}
}
