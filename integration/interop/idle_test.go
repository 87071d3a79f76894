// SPDX-License-Identifier: Apache-2.0

//go:build unix

package interop

import (
	"syscall"
	"testing"
	"time"

	"github.com/bauxite/caddy-kvaware/internal/engine/kvevents"
)

// BenchmarkIdleFollowing is the share of a core that it takes to follow 256
// publishers that say nothing, for half a minute: heartbeats, and asking now
// and then whether anything was missed. The publishers, one process of Python
// with a connection for each, are not in the figure.
func BenchmarkIdleFollowing(b *testing.B) {
	const publishers, forSeconds = 256, 30
	p := publish(b)
	set := kvevents.NewSubscriber(kvevents.Options{Open: func(kvevents.Publisher) kvevents.Sink { return silent{} }})
	defer set.Close()
	var sources []kvevents.Publisher
	for rank := range publishers {
		source := p.source()
		source.Rank = rank
		sources = append(sources, source)
	}
	set.Follow(sources...)
	for start := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		complete := 0
		for _, s := range set.States("") {
			if s.Connected && s.Replays > 0 {
				complete++
			}
		}
		if complete == publishers {
			break
		}
		if time.Since(start) > patience {
			b.Fatalf("%d of %d publishers are followed", complete, publishers)
		}
	}
	for b.Loop() {
		before := cpu(b)
		for range forSeconds {
			set.Follow(sources...) // as requests do
			time.Sleep(time.Second)
		}
		b.ReportMetric((cpu(b)-before).Seconds()/forSeconds*100, "%core")
	}
	for _, s := range set.States("") {
		if !s.Connected || s.Restarts != 1 {
			b.Fatalf("%+v", s)
		}
	}
}

// silent is a sink that nothing is said to.
type silent struct{}

func (silent) Apply(*kvevents.Event) bool      { return false }
func (silent) Clear()                          {}
func (silent) SetKnowledge(kvevents.Knowledge) {}

// cpu returns what this process has used.
func cpu(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
