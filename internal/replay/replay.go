// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"errors"
	"time"
)

// Bounds of a Setup.
const (
	maxNodes     = 1024
	maxKVTokens  = 1 << 40
	maxSpeed     = 1e6
	maxPrefill   = 1e9
	maxChunk     = 1 << 20
	maxNoise     = 2
	maxSequences = 1 << 20
	maxStep      = time.Minute
)

var (
	errEmpty    = errors.New("the trace has no requests")
	errNodes    = errors.New("nodes: want 1 to 1024")
	errSpeed    = errors.New("speed: want more than 0, at most 1000000")
	errPrefill  = errors.New("prefill rate: want more than 0, at most 1000000000 tokens a second")
	errKV       = errors.New("KV cache: want 1 to 2^40 tokens a node")
	errChunk    = errors.New("chunk: want 0 to 1048576 tokens")
	errRunning  = errors.New("running requests: want 1 to 1048576")
	errNoise    = errors.New("cost noise: want 0 to 2")
	errStep     = errors.New("decode step: want more than 0, at most a minute")
	errCapacity = errors.New("capacity known to the gateway: want 0 to 1000 times the true one")
)

func (s *Setup) validate() error {
	m := &s.Model
	switch {
	case s.Nodes < 1 || s.Nodes > maxNodes:
		return errNodes
	case !(s.Speed > 0 && s.Speed <= maxSpeed):
		return errSpeed
	case len(m.PrefillRates) == 0:
		return errPrefill
	case m.KVTokens < 1 || m.KVTokens > maxKVTokens:
		return errKV
	case m.Chunk < 0 || m.Chunk > maxChunk:
		return errChunk
	case m.MaxRunning < 1 || m.MaxRunning > maxSequences:
		return errRunning
	case !(m.Noise >= 0 && m.Noise <= maxNoise):
		return errNoise
	case m.DecodeStep <= 0 || m.DecodeStep > maxStep || m.DecodePerSequence < 0 || m.DecodePerSequence > maxStep:
		return errStep
	case !(s.KVAware.Capacity >= 0 && s.KVAware.Capacity <= 1000):
		return errCapacity
	}
	for _, rate := range m.PrefillRates {
		if !(rate > 0 && rate <= maxPrefill) {
			return errPrefill
		}
	}
	return nil
}

// Run replays the trace under the named policy.
func Run(t *Trace, s *Setup, policy string) (Result, error) {
	k, err := specOf(policy)
	if err != nil {
		return Result{}, err
	}
	if err := s.validate(); err != nil {
		return Result{}, err
	}
	if len(t.Requests) == 0 {
		return Result{}, errEmpty
	}
	w := newSimulation(t, s, k)
	w.replay(t)
	return w.result(t, k), nil
}
