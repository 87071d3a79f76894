// SPDX-License-Identifier: Apache-2.0

package lmcache

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// chunkClient is an LMCache that counts the questions for its chunk size.
type chunkClient struct {
	fakeClient
	asked  atomic.Int32
	tokens atomic.Int64 // 0: it does not answer
}

func (c *chunkClient) ChunkTokens(ctx context.Context, _ string) (int, error) {
	c.asked.Add(1)
	if n := int(c.tokens.Load()); n > 0 {
		return n, nil
	}
	return 0, hang(ctx)
}

func TestChunkTokensAreAskedInTheBackground(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := new(chunkClient)
		s := NewService(Options{Client: c})
		defer s.Close()
		step := func(wait time.Duration, want, asked int) {
			t.Helper()
			time.Sleep(wait)
			got := s.ChunkTokens("a:1")
			synctest.Wait()
			if n := int(c.asked.Swap(0)); got != want || n != asked {
				t.Errorf("%d tokens and %d questions, want %d and %d", got, n, want, asked)
			}
		}
		step(0, 0, 1)
		step(chunkPause-1, 0, 0)
		c.tokens.Store(64)
		step(1, 0, 1)
		step(0, 64, 0)
		step(chunkTTL-1, 64, 0)
		c.tokens.Store(128) // it was started anew
		step(1, 64, 1)
		step(0, 128, 0)
		c.tokens.Store(0)
		step(chunkTTL, 128, 1) // the last one counts while it does not answer
		step(chunkPause, 128, 1)
	})
}

func TestChunkSizesAreBounded(t *testing.T) {
	var c chunkSizes
	for i := range 3 * maxChunkSizes {
		c.due(fmt.Sprint(i), time.Unix(1, 0))
	}
	if len(c.known) > maxChunkSizes {
		t.Errorf("%d are remembered", len(c.known))
	}
}

func TestChunkTokensOfClients(t *testing.T) {
	w := &wire{answers: map[string]reply{
		"GET http://c:9300/instances": {status: 200, body: instancesAnswer},
		"GET http://a:8080/status":    {status: 200, body: `{"chunk_size":64}`},
	}}
	n, c := newTestNode(t, w), newTestCoordinator(t, w)
	for _, q := range []struct {
		client   Client
		upstream string
		want     int
		err      error
	}{
		{n, "a:8000", 64, nil}, {n, "b:8000", 0, ErrUnreachable}, {n, "unknown:8000", 0, ErrUnmapped},
		{c, "10.0.0.1:8000", 256, nil}, {c, "10.0.0.9:8000", 0, ErrUnmapped},
	} {
		if got, err := q.client.ChunkTokens(t.Context(), q.upstream); got != q.want || err != q.err {
			t.Errorf("%s: %d, %v, want %d, %v", q.upstream, got, err, q.want, q.err)
		}
	}
}
