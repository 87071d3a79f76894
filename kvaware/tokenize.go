// SPDX-License-Identifier: Apache-2.0

package kvaware

import (
	"errors"
	"time"

	"github.com/caddyserver/caddy/v2"
)

// When a prompt's tokens are fetched from an engine.
const (
	tokenizeAfter  = "after"  // beside the request, for those that come after it
	tokenizeInline = "inline" // before routing, within a deadline
	tokenizeOff    = "off"
)

const (
	// defaultTokenizeDeadline is how long `tokenize inline` waits when it is
	// not said.
	defaultTokenizeDeadline = 20 * time.Millisecond

	// maxTokenizeDeadline bounds what can be said: longer than it takes to
	// compute most prompts.
	maxTokenizeDeadline = 10 * time.Second
)

var (
	errTokenize      = errors.New("tokenize takes after, inline with at most 10s to wait, or off")
	errTokenizeAlone = errors.New("tokenize needs events or lmcache: nothing else asks for tokens")
	errStagingBlind  = errors.New("lmcache needs tokens: tokenize cannot be off")
)

// fillTokens fills in the defaults of what needs a prompt's tokens.
func (p *Policy) fillTokens() {
	if p.Tokenize == "" && (p.Events != nil || p.LMCache != nil) {
		p.Tokenize = tokenizeAfter
	}
	if p.Tokenize == tokenizeInline && p.TokenizeDeadline == 0 {
		p.TokenizeDeadline = caddy.Duration(defaultTokenizeDeadline)
	}
	if p.Events != nil {
		p.Events = p.Events.known()
	}
	if p.LMCache != nil {
		p.LMCache = p.LMCache.known()
	}
}

// checkTokens refuses options out of range of what needs a prompt's tokens.
func (p *Policy) checkTokens() error {
	if p.Events != nil {
		if err := p.Events.check(); err != nil {
			return err
		}
	}
	if p.LMCache != nil {
		if err := p.LMCache.check(); err != nil {
			return err
		}
	}
	switch {
	case p.Tokenize == "" && p.TokenizeDeadline == 0:
		return nil
	case p.Events == nil && p.LMCache == nil:
		return errTokenizeAlone
	case p.Tokenize == tokenizeOff && p.LMCache != nil:
		return errStagingBlind
	}
	return p.checkTokenize()
}

// checkTokenize refuses values that are out of range.
func (p *Policy) checkTokenize() error {
	switch p.Tokenize {
	case tokenizeAfter, tokenizeOff:
		if p.TokenizeDeadline != 0 {
			return errTokenize
		}
	case tokenizeInline:
		if p.TokenizeDeadline < 0 || time.Duration(p.TokenizeDeadline) > maxTokenizeDeadline {
			return errTokenize
		}
	default:
		return errTokenize
	}
	return nil
}
