// SPDX-License-Identifier: Apache-2.0

package outlier

import "time"

// The defaults of Options.
const (
	// DefaultFailures is the default number of failures in a row that eject an
	// upstream. One or two happen to every engine.
	DefaultFailures = 3
	// DefaultBase is the default time of a first ejection: a request that meets
	// a failing engine costs its client little, because it is retried.
	DefaultBase = 2 * time.Second
	// DefaultMax is the default of the longest ejection. An engine that has
	// healed is back in use after this and slowStart.
	DefaultMax = 15 * time.Second
	// DefaultShare is the default share of a pool that may be ejected.
	DefaultShare = 0.9
)

// Options say when an upstream is ejected. The zero value means the defaults.
type Options struct {
	Off      bool          // nothing is ever left out
	Failures int           // failures in a row until ejection
	Base     time.Duration // the first ejection
	Max      time.Duration // the longest
	Share    float64       // of a pool's upstreams that may be ejected; at least one may
}

// WithDefaults returns o with the defaults where nothing is set.
func (o Options) WithDefaults() Options {
	if o.Failures == 0 {
		o.Failures = DefaultFailures
	}
	if o.Base == 0 {
		o.Base = DefaultBase
	}
	if o.Max == 0 {
		o.Max = max(DefaultMax, o.Base)
	}
	if o.Share == 0 {
		o.Share = DefaultShare
	}
	return o
}

// maxEjected returns how many of n upstreams may be ejected: never all.
func (o Options) maxEjected(n int) int {
	return min(n-1, max(1, int(o.Share*float64(n))))
}
