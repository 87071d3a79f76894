// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"bufio"
	"cmp"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
)

// Turn is one prompt of an agent session.
type Turn struct {
	Timestamp int64  `json:"timestamp"` // microseconds
	Session   string `json:"session_id"`
	Input     string `json:"input"`
}

const miniswe = Root + "/../shared/traces/miniswe.jsonl.gz"

// AgentSessions returns the prompts of coding-agent sessions, each a prefix of
// the next: recorded ones where the trace lies beside the repository, else
// generated ones of the same kind.
func AgentSessions(t testing.TB) (sessions [][]Turn, recorded bool) {
	t.Helper()
	file, err := os.Open(miniswe)
	if err != nil {
		return generatedSessions(), false
	}
	defer file.Close()
	z, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	index := map[string]int{}
	in := bufio.NewReader(z)
	for {
		line, err := in.ReadBytes('\n')
		if len(line) > 0 {
			var u Turn
			if err := json.Unmarshal(line, &u); err != nil {
				t.Fatal(err)
			}
			i, known := index[u.Session]
			if !known {
				i = len(sessions)
				index[u.Session] = i
				sessions = append(sessions, nil)
			}
			sessions[i] = append(sessions[i], u)
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, s := range sessions {
		slices.SortFunc(s, func(a, b Turn) int { return cmp.Compare(a.Timestamp, b.Timestamp) })
	}
	return sessions, true
}

// generatedSessions returns 20 sessions of 20 turns that grow as agents' do.
func generatedSessions() [][]Turn {
	rnd := rand.New(rand.NewPCG(20, 20))
	sessions := make([][]Turn, 20)
	for i := range sessions {
		var text strings.Builder
		fmt.Fprintf(&text, "Session %d of agent %x. ", i, rnd.Uint64())
		grow := func(words int) {
			for range words {
				fmt.Fprintf(&text, "%s ", []string{"file", "line", "error", "test", "patch", "value", "return", "import"}[rnd.IntN(8)])
				if rnd.IntN(4) == 0 {
					fmt.Fprintf(&text, "%x ", rnd.Uint32())
				}
			}
		}
		grow(900)
		for n := range 20 {
			sessions[i] = append(sessions[i], Turn{Timestamp: int64(n) * 1_000_000, Session: fmt.Sprint(i), Input: text.String()})
			grow(50 + rnd.IntN(400))
		}
	}
	return sessions
}
