// SPDX-License-Identifier: Apache-2.0

package lmcache

import (
	"context"
	"errors"
	"time"
)

// MaxTokens is the most token ids that LMCache takes in one request. Only the beginning
// of a longer prefix is staged.
const MaxTokens = 1_000_000

// DefaultChunkTokens is the size of LMCache's default chunk, which it hashes and moves
// as one.
const DefaultChunkTokens = 256

// Prefix is the beginning of a prompt that is to be staged or looked up.
type Prefix struct {
	// Model is the model of the request.
	Model string
	// Salt is the request's cache_salt, "" without one. LMCache keeps the blocks of
	// different salts apart.
	Salt string
	// Tokens are the prompt's token ids, from the first one on.
	Tokens []uint32
	// Expected is the number of tokens that LMCache is estimated to hold. 0: all.
	Expected int
	// Deadline is the latest time to begin the staging: by then the engine has
	// scheduled the request and reads the same blocks itself. Zero: none.
	Deadline time.Time
	// Key identifies the prefix, its model and salt included.
	Key uint64
}

// cut returns the tokens that LMCache takes.
func (p *Prefix) cut() []uint32 { return p.Tokens[:min(len(p.Tokens), MaxTokens)] }

// late reports whether the deadline has passed.
func (p *Prefix) late(now time.Time) bool { return !p.Deadline.IsZero() && now.After(p.Deadline) }

// Job is a staging that LMCache has accepted.
type Job struct {
	ID          string // "": there was nothing to do
	Node        string // name of the node, as the coordinator reports it
	Chunks      int    // whole chunks in the prefix
	ChunkTokens int    // tokens in each
}

// Progress is LMCache's report of a Job. Total counts its keys, one for each chunk and
// rank, Found those in CPU memory now. Some versions leave out keys that were there
// before, so fewer found than asked for is no failure.
type Progress struct {
	Done         bool
	Found, Total int
}

// Holding is the length of a prefix that the LMCache of one upstream holds without a
// gap, in tokens.
type Holding struct {
	Upstream string
	Memory   int  // in CPU memory
	Storage  int  // in any tier; at least Memory
	Whole    bool // Storage is all of the prefix but for a last part of a chunk
}

// Client is one way to reach LMCache. It is safe for concurrent use. A call may take as
// long as its context allows. It reads no tokens after it has returned.
type Client interface {
	// Submit orders a prefix to be staged on the node of an upstream (host:port).
	Submit(ctx context.Context, upstream string, p *Prefix) (Job, error)
	// Poll asks for the progress of a Job. LMCache reports its end only once.
	Poll(ctx context.Context, upstream string, j Job) (Progress, error)
	// ChunkTokens asks for the number of tokens in a chunk of an upstream's LMCache.
	ChunkTokens(ctx context.Context, upstream string) (int, error)
	// Lookup asks how much of a prefix some upstreams hold. Upstreams without a known
	// LMCache are not in the answer.
	Lookup(ctx context.Context, p *Prefix, upstreams []string) ([]Holding, error)
	// CanLookup reports whether Lookup is possible.
	CanLookup() bool
	// Close closes idle connections.
	Close()
}

// Errors of a Client. Their texts are fixed: they quote no request and no answer.
var (
	// ErrUnsupported: the Client cannot do this.
	ErrUnsupported = errors.New("LMCache cannot do this here")
	// ErrUnmapped: the LMCache of the upstream is not known.
	ErrUnmapped = errors.New("no LMCache is known for the upstream")
	// ErrUnreachable: no answer.
	ErrUnreachable = errors.New("LMCache did not answer")
	// ErrTimeout: no answer in time.
	ErrTimeout = errors.New("LMCache did not answer in time")
	// ErrNotFound: 404. Submit: it has no staging, or does not know the node. Poll: it
	// does not know the Job, or has reported its end before.
	ErrNotFound = errors.New("LMCache answered 404")
	// ErrNoLayout: the engine has not allocated KV memory for the model yet.
	ErrNoLayout = errors.New("LMCache has no KV layout of the model yet")
	// ErrRefused: another status below 500, such as 400.
	ErrRefused = errors.New("LMCache refused the request")
	// ErrServer: 5xx.
	ErrServer = errors.New("LMCache failed")
	// ErrAnswer: an answer of another form, or too large.
	ErrAnswer = errors.New("LMCache's answer is not understood")
)
