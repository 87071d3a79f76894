// SPDX-License-Identifier: Apache-2.0

package lmcache

import (
	"context"
	"sync"
	"time"
)

const (
	// chunkTTL is the time for which a chunk size is remembered, chunkPause the time
	// after which an upstream is asked again when it could not be had.
	chunkTTL   = 5 * time.Minute
	chunkPause = 30 * time.Second
	// maxChunkSizes bounds the upstreams whose chunk size is remembered.
	maxChunkSizes = 4096
)

// chunkSizes remembers the chunk sizes of upstreams' LMCache.
type chunkSizes struct {
	mu    sync.Mutex
	known map[string]*chunkSize // by upstream
}

type chunkSize struct {
	tokens int       // 0: not known
	next   time.Time // when it is asked for again
}

// due returns an upstream's chunk size, and whether it is time to ask for it.
func (c *chunkSizes) due(upstream string, now time.Time) (tokens int, due bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	size := c.known[upstream]
	if size == nil {
		if c.known == nil || len(c.known) >= maxChunkSizes {
			c.known = make(map[string]*chunkSize) // upstreams that came and went
		}
		size = new(chunkSize)
		c.known[upstream] = size
	}
	if now.Before(size.next) {
		return size.tokens, false
	}
	size.next = now.Add(chunkPause)
	return size.tokens, true
}

// learn notes an upstream's chunk size.
func (c *chunkSizes) learn(upstream string, tokens int, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if size := c.known[upstream]; size != nil {
		size.tokens, size.next = tokens, now.Add(chunkTTL)
	}
}

// ChunkTokens returns the number of tokens in a chunk of an upstream's LMCache, 0 while
// that is not known. It does not wait: LMCache is asked in the background.
func (s *Service) ChunkTokens(upstream string) int {
	tokens, due := s.chunks.due(upstream, s.options.Now())
	if !due {
		return tokens
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return tokens
	}
	s.running.Go(func() { // under the lock, as in begin
		ctx, cancel := context.WithTimeout(s.ctx, s.options.SubmitTimeout)
		defer cancel()
		if tokens, err := s.options.Client.ChunkTokens(ctx, upstream); err == nil {
			s.chunks.learn(upstream, tokens, s.options.Now())
		}
	})
	return tokens
}
