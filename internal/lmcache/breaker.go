// SPDX-License-Identifier: Apache-2.0

package lmcache

import (
	"time"

	"github.com/bauxite/caddy-kvaware/internal/backoff"
)

const (
	// maxFailures is the number of failures in a row after which a node is left alone.
	maxFailures = 3
	// It is left alone for pauseFirst, then for twice as long each time, up to
	// pauseMost. A node without the API starts at pauseAbsent.
	pauseFirst  = 5 * time.Second
	pauseAbsent = 30 * time.Second
	pauseMost   = 5 * time.Minute
)

// breaker keeps calls from a node that fails. After a pause it lets a single one
// through, and all calls when that one succeeds. report must follow each call that
// was let through. The zero value lets calls through.
type breaker struct {
	failures int // in a row
	pause    time.Duration
	until    time.Time // the end of the pause; zero: none
	probing  bool      // the single call is under way
}

// closed reports whether a call would be let through.
func (b *breaker) closed(now time.Time) bool {
	return b.until.IsZero() || !b.probing && !now.Before(b.until)
}

// enter lets a call through; closed must hold. It reports whether it is the single
// one.
func (b *breaker) enter() (probe bool) {
	b.probing = !b.until.IsZero()
	return b.probing
}

// report ends a call. random is from 0 to 1. A call from before the pause may end
// during or after it, and changes nothing then.
func (b *breaker) report(v verdict, probe bool, now time.Time, random float64) {
	if probe {
		b.probing = false
	}
	switch v {
	case notAsked:
	case healthy:
		if b.until.IsZero() || probe {
			*b = breaker{}
		}
	default:
		b.failures++
		if b.until.IsZero() || probe {
			b.open(v, now, random)
		}
	}
}

// open begins a pause, if the node has failed often enough.
func (b *breaker) open(v verdict, now time.Time, random float64) {
	if v != absent && b.failures < maxFailures {
		return
	}
	first := pauseFirst
	if v == absent {
		first = pauseAbsent
	}
	b.pause = backoff.Next(b.pause, first, pauseMost)
	b.until = now.Add(backoff.Jitter(b.pause, random))
}

// bucket limits a rate: it fills evenly up to burst, and each call takes one.
type bucket struct {
	level float64
	at    time.Time // of level; zero: full
}

// take reports whether there is one to take, and takes it.
func (b *bucket) take(now time.Time, rate, burst float64) bool {
	if b.at.IsZero() {
		b.level = burst
	} else if passed := now.Sub(b.at); passed > 0 {
		b.level = min(burst, b.level+passed.Seconds()*rate)
	}
	b.at = now
	if b.level < 1 {
		return false
	}
	b.level--
	return true
}
