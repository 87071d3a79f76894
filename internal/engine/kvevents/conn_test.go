// SPDX-License-Identifier: Apache-2.0

package kvevents

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/bauxite/caddy-kvaware/internal/backoff"
	"github.com/bauxite/caddy-kvaware/internal/engine/zmtp"
)

func TestMessages(t *testing.T) {
	seq, payload, topic, none := seqOf(7), []byte("batch"), []byte("kv"), []byte{}
	mark := seqOf(endOfHistory)
	for name, c := range map[string]struct {
		parts  [][]byte
		live   bool // can be one of the live stream
		replay bool // can be one of a replay
		end    bool
	}{
		"live":                {[][]byte{topic, seq, payload}, true, true, false},
		"live, no topic":      {[][]byte{none, seq, payload}, true, true, false},
		"replay":              {[][]byte{none, topic, seq, payload}, false, true, false},
		"replay, no topic":    {[][]byte{none, none, seq, payload}, false, true, false},
		"no delimiter":        {[][]byte{seq, payload}, false, true, false},
		"end":                 {[][]byte{none, none, mark, none}, false, true, true},
		"old end":             {[][]byte{none, mark, none}, false, true, true},
		"end with a batch":    {[][]byte{none, mark, payload}, false, true, true},
		"empty batch":         {[][]byte{none, seq, none}, false, true, true},
		"three empty frames":  {[][]byte{none, none, none, seq, payload}, false, false, false},
		"topic without delim": {[][]byte{topic, topic, seq, payload}, false, false, false},
		"short number":        {[][]byte{topic, seq[1:], payload}, false, false, false},
		"long number":         {[][]byte{topic, append(seqOf(0), 7), payload}, false, false, false},
		"nothing":             {nil, false, false, false},
		"one":                 {[][]byte{seq}, false, false, false},
		"two empty frames":    {[][]byte{none, none}, false, false, false},
	} {
		m, ok := liveMessage(c.parts)
		if ok != c.live || ok && (m.seq != 7 || !bytes.Equal(m.payload, payload)) {
			t.Errorf("%s: live %v, %+v", name, ok, m)
		}
		m, ok = replayMessage(c.parts)
		if ok != c.replay || ok && m.end() != c.end || ok && !c.end && (m.seq != 7 || !bytes.Equal(m.payload, payload)) {
			t.Errorf("%s: replay %v, %+v", name, ok, m)
		}
	}
}

func TestDialFails(t *testing.T) {
	address := serve(t, func(net.Conn) {})
	c, err := dialZMTP(connOptions())(context.Background(), address, zmtp.SUB)
	if c != nil || err == nil {
		t.Errorf("%v, %v", c, err)
	}
}

func TestKnowledge(t *testing.T) {
	if fmt.Sprint(Unknown, Partial, Complete) != "unknown partial complete" || Unknown > Partial || Partial > Complete {
		t.Error(Unknown, Partial, Complete)
	}
}

func TestPauses(t *testing.T) {
	for failures, want := range map[int]time.Duration{1: reconnectFirst, 2: 2 * reconnectFirst, 3: 4 * reconnectFirst, 7: reconnectLongest, 1 << 40: reconnectLongest} {
		if got := backoff.Pause(failures, reconnectFirst, reconnectLongest); got != want {
			t.Errorf("after %d failures: %v, want %v", failures, got, want)
		}
	}
	if a, b, c := backoff.Jitter(time.Second, 0), backoff.Jitter(time.Second, 0.5), backoff.Jitter(time.Second, 1); a != 800*time.Millisecond || b != time.Second || c != 1200*time.Millisecond {
		t.Error(a, b, c)
	}
}
