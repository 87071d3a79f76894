// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"encoding/json"

	"github.com/cespare/xxhash/v2"

	"github.com/bauxite/caddy-kvaware/internal/blockhash"
)

// affinityBytes is the length of the text that Affinity hashes.
const affinityBytes = 100

// mooncake parses a line of a Mooncake trace. It chains the ids again, so that
// an id behind another prefix is another block.
func (rd *traceReader) mooncake(line []byte) (req Request, stamp *json.Number, err error) {
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
func (rd *traceReader) text(line []byte) (req Request, stamp *json.Number, err error) {
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
	var text blockhash.Text
	text.Start(0, rd.options.BlockBytes)
	text.Add([]byte(in.Input))
	req.Chain = text.Chain
	req.Affinity = xxhash.Sum64String(in.Input[:min(affinityBytes, len(in.Input))])
	if len(in.SessionID) > 0 && string(in.SessionID) != "null" {
		req.Session = max(1, xxhash.Sum64(in.SessionID))
	}
	return req, in.Timestamp, nil
}

// setTokens checks and sets token counts; an answer has at least one token.
func (req *Request) setTokens(input, output int) error {
	if input < 1 || input > maxTokens || output < 0 || output > maxTokens {
		return errTokens
	}
	req.Tokens, req.Output = input, max(1, output)
	return nil
}

// tokensOf estimates the tokens of a text of so many bytes.
func tokensOf(bytes int) int { return (bytes + bytesPerToken - 1) / bytesPerToken }
