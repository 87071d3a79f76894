// SPDX-License-Identifier: Apache-2.0

package kvaware

import (
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/bauxite/caddy-kvaware/internal/outlier"
)

// Eject says when an upstream that fails is left out, and for how long (outlier
// detection). Failures are: no connection, a connection that ends before the
// answer's header, a status of 5xx, an answer that breaks off, and a client that
// gives up on an overdue answer. An upstream that answers 429 or 503 is busy: it is
// left out for as long as its Retry-After says, or for up to 5s.
type Eject struct {
	// Whether no upstream is ever left out. Failures still count in the score.
	// Default: false.
	Off bool `json:"off,omitempty"`

	// How many failures in a row eject an upstream, from 1 to 100. A hang counts
	// twice. Default: 3.
	Failures int `json:"failures,omitempty"`

	// How long the first ejection lasts, from 100ms to 1h. It doubles with each
	// further ejection in a row. After it one request at a time probes the
	// upstream, until one succeeds. Default: 2s.
	Base caddy.Duration `json:"base,omitempty"`

	// How long an ejection lasts at most, from base to 24h. Default: 15s, or base
	// where that is longer.
	Max caddy.Duration `json:"max,omitempty"`

	// The share of the upstreams that may be ejected at once, above 0 and up to 1.
	// One may always be, all never. Default: 0.9.
	Share float64 `json:"share,omitempty"`
}

const (
	maxEjectFailures = 100
	minEjectBase     = 100 * time.Millisecond
	maxEjectBase     = time.Hour
	maxEjectMax      = 24 * time.Hour
)

var (
	errEjectFailures = errors.New("eject failures takes a number from 1 to 100")
	errEjectBase     = errors.New("eject base takes a duration from 100ms to 1h")
	errEjectMax      = errors.New("eject max takes a duration from base to 24h")
	errEjectShare    = errors.New("eject share takes a number above 0 and up to 1, such as 0.5, or a percentage such as 50%")
	errEjectOff      = errors.New("eject off takes no other options")
)

// check refuses options that are out of range. A nil *Eject is one without options.
func (e *Eject) check() error {
	if e == nil {
		return nil
	}
	if e.Off && *e != (Eject{Off: true}) {
		return errEjectOff
	}
	return errors.Join(e.checkFailures(), e.checkBase(), e.checkMax(), e.checkShare())
}

func (e *Eject) checkFailures() error {
	if e.Failures < 0 || e.Failures > maxEjectFailures {
		return errEjectFailures
	}
	return nil
}

func (e *Eject) checkBase() error {
	if d := time.Duration(e.Base); d != 0 && (d < minEjectBase || d > maxEjectBase) {
		return errEjectBase
	}
	return nil
}

func (e *Eject) checkMax() error {
	base := time.Duration(e.Base)
	if base == 0 {
		base = outlier.DefaultBase
	}
	if d := time.Duration(e.Max); d != 0 && (d < base || d > maxEjectMax) {
		return errEjectMax
	}
	return nil
}

func (e *Eject) checkShare() error {
	if !(e.Share >= 0 && e.Share <= 1) { // NaN too
		return errEjectShare
	}
	return nil
}

// options returns the detector's options.
func (e *Eject) options() outlier.Options {
	if e == nil {
		return outlier.Options{}.WithDefaults()
	}
	return outlier.Options{
		Off:      e.Off,
		Failures: e.Failures,
		Base:     time.Duration(e.Base),
		Max:      time.Duration(e.Max),
		Share:    e.Share,
	}.WithDefaults()
}

// parseEject reads `eject off`, or `eject` with a block.
func (p *Policy) parseEject(d *caddyfile.Dispenser, o options) error {
	if err := o.note(d); err != nil {
		return err
	}
	p.Eject = new(Eject)
	if d.NextArg() {
		if d.Val() != "off" || d.NextArg() {
			return d.Err("eject takes off, or a block of options")
		}
		p.Eject.Off = true
		if d.NextBlock(d.Nesting()) {
			return d.WrapErr(errEjectOff)
		}
		return nil
	}
	given := newOptions("eject", "failures", "base", "max", "share")
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		option := d.Val()
		value, err := given.argument(d)
		if err != nil {
			return err
		}
		if err := p.Eject.set(option, value); err != nil {
			return d.WrapErr(err)
		}
	}
	if *p.Eject == (Eject{}) {
		return d.Err("eject takes off, or a block of options")
	}
	if err := p.Eject.check(); err != nil { // max against base, in either order
		return d.WrapErr(err)
	}
	return nil
}

// set sets one option of the block from its text.
func (e *Eject) set(option, value string) (err error) {
	switch option {
	case "failures":
		if e.Failures, err = strconv.Atoi(value); err != nil || e.Failures == 0 {
			return errEjectFailures
		}
		return e.checkFailures()
	case "base":
		e.Base, err = parseDuration(value, 1, errEjectBase)
		if err == nil {
			err = e.checkBase()
		}
	case "max":
		e.Max, err = parseDuration(value, 1, errEjectMax)
	case "share":
		number, percent := strings.CutSuffix(value, "%")
		if e.Share, err = strconv.ParseFloat(number, 64); err != nil || e.Share == 0 {
			return errEjectShare
		}
		if percent {
			e.Share /= 100
		}
		return e.checkShare()
	}
	return err
}
