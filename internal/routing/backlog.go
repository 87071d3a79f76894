// SPDX-License-Identifier: Apache-2.0

package routing

import "time"

const (
	// backlogMemory is the number of reports that the time of a request is averaged
	// over.
	backlogMemory = 16
	// backlogTTL is the time for which a report of an engine's load counts.
	backlogTTL = loadTTL
)

// backlog is the wait at an upstream that the engine's own reports show. The queue
// of reservations does not show it where the cost of a token is not known, because
// no answer is streamed, and not where the engine is held up by decoding. While
// requests wait, an engine takes the next one whenever it is done with another, so
// a newcomer waits for as many answers as there are requests before it. The zero
// value has had no report.
type backlog struct {
	waiting int       // requests that wait there, from whatever gateway, at the last report
	share   float64   // all requests there over those of this gateway, at that time
	at      time.Time // of the last report
	started int       // attempts of this gateway since then
	ended   int       // answered ones since then

	spent    float64 // ns, fading: time in which requests waited
	answered float64 // fading: answers in that time
}

// report takes in an engine's load; own is the number of this gateway's requests
// there.
func (b *backlog) report(now time.Time, l EngineLoad, own int) {
	waiting := max(0, l.Waiting)
	if took := now.Sub(b.at); b.waiting > 0 && waiting > 0 && took <= backlogTTL {
		const fade = 1 - 1.0/backlogMemory
		b.spent = b.spent*fade + float64(took)
		b.answered = b.answered*fade + float64(b.ended)*b.share
	}
	b.waiting, b.at, b.started, b.ended = waiting, now, 0, 0
	b.share = max(1, float64(waiting+max(0, l.Running))/float64(max(1, own)))
}

// wait returns the predicted wait of a newcomer, 0 when none is known. each is the
// time between two answers until some were counted.
func (b *backlog) wait(now time.Time, each time.Duration) time.Duration {
	passed := now.Sub(b.at)
	if b.waiting == 0 || passed > backlogTTL {
		return 0
	}
	if b.answered > 0 {
		each = time.Duration(b.spent / b.answered)
	}
	return max(0, time.Duration(b.waiting+b.started)*each-passed)
}
