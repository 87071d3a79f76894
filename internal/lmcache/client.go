// SPDX-License-Identifier: Apache-2.0

package lmcache

import (
	"context"
	"errors"
	"time"
)

// MaxTokens is how many token ids LMCache takes in one request. A longer
// prefix is cut there: the beginning of it is what can be staged.
const MaxTokens = 1_000_000

// DefaultChunkTokens is how many tokens LMCache hashes and moves as one, where
// a node does not tell.
const DefaultChunkTokens = 256

// Prefix is the beginning of a prompt whose KV blocks are asked for.
type Prefix struct {
	// Model is the request's.
	Model string
	// Salt is the request's cache_salt, "" without one. LMCache keeps what was
	// made under different salts apart.
	Salt string
	// Tokens are the prompt's token ids from its first one on.
	Tokens []uint32
	// WorldSize is over how many ranks the engine has split the model. 0: what
	// the node tells of the model, or else 1.
	WorldSize int
	// Until is when it is too late to begin: the engine has scheduled the request
	// by then, and reads the same blocks itself. Zero: it is never too late.
	Deadline time.Time
	// Key names the prefix, model and salt included, to know it again.
	Key uint64
}

// cut returns the tokens that can be sent.
func (p *Prefix) cut() []uint32 { return p.Tokens[:min(len(p.Tokens), MaxTokens)] }

// Job is a staging that LMCache has accepted.
type Job struct {
	ID          string // "": there was nothing to do
	Node        string // who does it, in the words of whom was asked
	Chunks      int    // whole chunks in the prefix
	ChunkTokens int    // tokens in each
}

// late reports whether it is too late to begin.
func (p *Prefix) late(now time.Time) bool { return !p.Deadline.IsZero() && now.After(p.Deadline) }

// Progress is what LMCache says about a Job. Found are, of Total keys (one for
// each chunk and rank), those that are in DRAM now. Versions differ in whether
// they count what was there before: fewer found than asked for is no failure.
type Progress struct {
	Done         bool
	Found, Total int
}

// Holding is how much of a prefix the LMCache of one upstream holds, in tokens
// from the beginning without a gap.
type Holding struct {
	Upstream string
	Memory   int // in DRAM
	Storage  int // in DRAM, or on disk or remote; at least Memory
}

// Client is one way to reach LMCache. It is safe for concurrent use. A call
// takes as long as its context lets it; tokens are not read after it returned.
type Client interface {
	// Submit asks for a prefix to be staged on the node of an upstream, named
	// by its host:port.
	Submit(ctx context.Context, upstream string, p *Prefix) (Job, error)
	// Poll asks how far a Job is. LMCache tells of its end only once.
	Poll(ctx context.Context, upstream string, j Job) (Progress, error)
	// Lookup asks what some upstreams hold of a prefix. Upstreams of which that
	// is not known, such as those without LMCache, are not in the answer.
	Lookup(ctx context.Context, p *Prefix, upstreams []string) ([]Holding, error)
	// CanLookup reports whether Lookup is possible.
	CanLookup() bool
	// Close lets connections go.
	Close()
}

// Errors of a Client. Their texts are fixed: nothing of a request or of an
// answer is in them.
var (
	// ErrUnsupported: this way to LMCache cannot do that.
	ErrUnsupported = errors.New("LMCache cannot be asked for this here")
	// ErrUnmapped: it is not known which LMCache belongs to the upstream.
	ErrUnmapped = errors.New("no LMCache is known for the upstream")
	// ErrUnreachable: no answer.
	ErrUnreachable = errors.New("LMCache did not answer")
	// ErrTimeout: no answer in time.
	ErrTimeout = errors.New("LMCache did not answer in time")
	// ErrNotFound: 404. For Submit: it does not stage, or does not know the
	// node; for Poll: it does not know the Job, or has told of its end before.
	ErrNotFound = errors.New("LMCache answered that it is not there")
	// ErrNoLayout: the model has not allocated KV memory on the node yet.
	ErrNoLayout = errors.New("LMCache knows no KV layout of the model yet")
	// ErrRefused: another answer that is neither a success nor a failure of
	// the server, such as 400.
	ErrRefused = errors.New("LMCache refused the request")
	// ErrServer: 5xx.
	ErrServer = errors.New("LMCache failed")
	// ErrAnswer: an answer that is not what was asked for, or too large.
	ErrAnswer = errors.New("LMCache's answer is not understood")
)
