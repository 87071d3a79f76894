// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"encoding/json"

	"github.com/cespare/xxhash/v2"
)

// affinityBytes is how much of a text makes its Affinity.
const affinityBytes = 100

// mooncake parses a line of a Mooncake trace. Ids are chained again, so that
// an id that recurs behind another prefix is another block.
func (rd *reader) mooncake(line []byte) (req Request, stamp *json.Number, err error) {
	var in struct {
		Timestamp    *json.Number `json:"timestamp"`
		InputLength  int          `json:"input_length"`
		OutputLength int          `json:"output_length"`
		HashIDs      []uint64     `json:"hash_ids"`
	}
	if json.Unmarshal(line, &in) != nil {
		return req, nil, errJSON
	}
	if err := req.setTokens(in.InputLength, in.OutputLength); err != nil {
		return req, nil, err
	}
	size := rd.options.BlockTokens
	if len(in.HashIDs) > (in.InputLength+size-1)/size {
		return req, nil, errHashes
	}
	h := uint64(0)
	for i, id := range in.HashIDs {
		h = hashPair(h, id)
		in.HashIDs[i] = h
	}
	req.Chain = in.HashIDs
	if n := len(req.Chain); n > 0 {
		req.Affinity = req.Chain[min(1, n-1)]
	}
	return req, in.Timestamp, nil
}

// text parses a line of a text trace.
func (rd *reader) text(line []byte) (req Request, stamp *json.Number, err error) {
	var in struct {
		Timestamp *json.Number    `json:"timestamp"`
		Input     string          `json:"input"`
		Output    string          `json:"output"`
		SessionID json.RawMessage `json:"session_id"`
	}
	if json.Unmarshal(line, &in) != nil {
		return req, nil, errJSON
	}
	if err := req.setTokens(tokensOf(len(in.Input)), tokensOf(len(in.Output))); err != nil {
		return req, nil, err
	}
	c := chainer{size: rd.options.BlockBytes}
	c.add([]byte(in.Input))
	req.Chain = c.chain
	req.Affinity = xxhash.Sum64String(in.Input[:min(affinityBytes, len(in.Input))])
	if len(in.SessionID) > 0 && string(in.SessionID) != "null" {
		req.Session = max(1, xxhash.Sum64(in.SessionID))
	}
	return req, in.Timestamp, nil
}

// setTokens checks token counts; an answer has one at least.
func (req *Request) setTokens(input, output int) error {
	if input < 1 || input > maxTokens || output < 0 || output > maxTokens {
		return errTokens
	}
	req.Tokens, req.Output = input, max(1, output)
	return nil
}

// tokensOf estimates how many tokens a text of that many bytes has.
func tokensOf(bytes int) int { return (bytes + bytesPerToken - 1) / bytesPerToken }

// chainer cuts a text into blocks of size bytes and hashes each with all
// before it. What remains at the end is in no block, as in an engine.
type chainer struct {
	size   int
	digest xxhash.Digest
	filled int
	last   uint64
	total  int
	chain  []uint64
}

func (c *chainer) add(text []byte) {
	c.total += len(text)
	for len(text) > 0 {
		if c.filled == 0 {
			c.digest.ResetWithSeed(c.last)
		}
		n := min(len(text), c.size-c.filled)
		_, _ = c.digest.Write(text[:n])
		text, c.filled = text[n:], c.filled+n
		if c.filled == c.size {
			c.last, c.filled = c.digest.Sum64(), 0
			c.chain = append(c.chain, c.last)
		}
	}
}
