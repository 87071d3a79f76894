// SPDX-License-Identifier: Apache-2.0

//go:build unix

package interop

import (
	"syscall"
	"testing"
	"time"

	"github.com/bauxite/caddy-kvaware/internal/engine/kvevents"
)

// BenchmarkIdleFollowing measures the share of a core for following 256 silent
// publishers for half a minute: heartbeats and probes. It does not count the
// publishers, one process of Python with a connection for each.
func BenchmarkIdleFollowing(b *testing.B) {
	const numPublishers, forSeconds = 256, 30
	p := publish(b)
	subscriber := kvevents.NewSubscriber(kvevents.Options{Open: func(kvevents.Publisher) kvevents.Sink { return noSink{} }})
	defer subscriber.Close()
	var publishers []kvevents.Publisher
	for rank := range numPublishers {
		target := p.target()
		target.Rank = rank
		publishers = append(publishers, target)
	}
	subscriber.Follow(publishers...)
	for start := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		complete := 0
		for _, s := range subscriber.States("") {
			if s.Connected && s.Replays > 0 {
				complete++
			}
		}
		if complete == numPublishers {
			break
		}
		if time.Since(start) > patience {
			b.Fatalf("%d of %d publishers are followed", complete, numPublishers)
		}
	}
	for b.Loop() {
		before := cpu(b)
		for range forSeconds {
			subscriber.Follow(publishers...) // as requests do
			time.Sleep(time.Second)
		}
		b.ReportMetric((cpu(b)-before).Seconds()/forSeconds*100, "%core")
	}
	for _, s := range subscriber.States("") {
		if !s.Connected || s.Restarts != 0 {
			b.Fatalf("%+v", s)
		}
	}
}

// noSink is a sink that gets no events.
type noSink struct{}

func (noSink) Apply(*kvevents.Event) bool      { return false }
func (noSink) Clear()                          {}
func (noSink) SetKnowledge(kvevents.Knowledge) {}

// cpu returns the CPU time of this process.
func cpu(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
