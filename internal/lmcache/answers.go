// SPDX-License-Identifier: Apache-2.0

package lmcache

import (
	"cmp"
	"io"
)

const (
	// maxID bounds the names of jobs and nodes, in bytes.
	maxID = 256
	// maxNodes bounds the nodes in one answer.
	maxNodes = 4096
	// maxContexts bounds the engines in a node's status.
	maxContexts = 1024
	// maxWorldSize bounds the ranks of a model.
	maxWorldSize = 4096
	maxChunk     = 1 << 20 // tokens
)

// readSubmitted reads the answer to an order. When there is nothing to do, request_id
// is missing in a node's answer and empty in a coordinator's, which also has the name
// of the node.
func readSubmitted(r io.Reader, tokens int) (j Job, err error) {
	var a struct {
		Node   *string `json:"instance_id"`
		ID     string  `json:"request_id"`
		Chunks *int    `json:"chunks"`
		Status string  `json:"status"`
	}
	if err := readJSON(r, &a); err != nil {
		return Job{}, err
	}
	if a.Chunks == nil || *a.Chunks < 0 || *a.Chunks > tokens {
		return Job{}, ErrAnswer
	}
	switch {
	case a.Status == "noop" && *a.Chunks == 0:
		return Job{}, nil
	case a.Status != "submitted" || *a.Chunks == 0 || !usableID(a.ID):
		return Job{}, ErrAnswer
	}
	j = Job{ID: a.ID, Chunks: *a.Chunks}
	if a.Node != nil {
		j.Node = *a.Node
	}
	return j, nil
}

// usableID reports whether an id can be part of a path.
func usableID(id string) bool {
	dots := true
	for i := range len(id) {
		if id[i] <= ' ' || id[i] >= 0x7f {
			return false
		}
		dots = dots && id[i] == '.'
	}
	return !dots && len(id) <= maxID
}

// readProgress reads the answer to a poll.
func readProgress(r io.Reader, id string) (Progress, error) {
	var a struct {
		ID     string `json:"request_id"`
		Status string `json:"status"`
		Found  *int   `json:"found_keys"`
		Total  *int   `json:"total_keys"`
	}
	if err := readJSON(r, &a); err != nil {
		return Progress{}, err
	}
	switch {
	case a.ID != id:
		return Progress{}, ErrAnswer
	case a.Status == "pending":
		return Progress{}, nil
	case a.Status != "completed" || a.Found == nil || a.Total == nil || *a.Found < 0 || *a.Found > *a.Total:
		return Progress{}, ErrAnswer
	}
	return Progress{Done: true, Found: *a.Found, Total: *a.Total}, nil
}

// nodeStatus is the part of a node's status that is used.
type nodeStatus struct {
	chunkTokens int            // 0: not known
	worldSizes  map[string]int // ranks by model
}

// readStatus reads a node's status. It lists the engines by the way in which their
// blocks are moved: by LMCache from CUDA devices, or by the engine itself from all
// others. Older versions have another name for the first list.
func readStatus(r io.Reader) (s nodeStatus, err error) {
	type contexts map[string]struct {
		Model string `json:"model_name"`
		World int    `json:"world_size"`
	}
	var a struct {
		ChunkTokens   int      `json:"chunk_size"`
		LMCacheDriven contexts `json:"cache_context_meta"`
		Older         contexts `json:"gpu_context_meta"`
		EngineDriven  contexts `json:"non_cuda_context_meta"`
	}
	if err := readJSON(r, &a); err != nil {
		return s, err
	}
	if a.ChunkTokens < 1 || a.ChunkTokens > maxChunk || len(a.LMCacheDriven)+len(a.Older)+len(a.EngineDriven) > maxContexts {
		return s, ErrAnswer
	}
	s = nodeStatus{chunkTokens: a.ChunkTokens, worldSizes: make(map[string]int)}
	for _, list := range []contexts{a.Older, a.LMCacheDriven, a.EngineDriven} {
		for _, c := range list {
			if c.World >= 1 && c.World <= maxWorldSize && c.Model != "" {
				s.worldSizes[c.Model] = max(s.worldSizes[c.Model], c.World)
			}
		}
	}
	return s, nil
}

// chunkSize returns the tokens in a chunk.
func (s *nodeStatus) chunkSize() int { return cmp.Or(s.chunkTokens, DefaultChunkTokens) }

// model returns the name and the number of ranks that a model has on a node. A node
// with a single model has that, whatever name a request uses: LMCache knows only the
// name that the engine was started with.
func (s *nodeStatus) model(name string) (string, int) {
	if world, ok := s.worldSizes[name]; ok {
		return name, world
	}
	if len(s.worldSizes) == 1 {
		for only, world := range s.worldSizes {
			return only, world
		}
	}
	return name, 1
}

// instance is a node as a coordinator knows it.
type instance struct {
	id, host string
	port     int // of its HTTP API; 0: not known
}

// readInstances reads a coordinator's list of nodes.
func readInstances(r io.Reader) ([]instance, error) {
	var a struct {
		Instances []struct {
			ID   string `json:"instance_id"`
			IP   string `json:"ip"`
			Port int    `json:"http_port"`
		} `json:"instances"`
	}
	if err := readJSON(r, &a); err != nil {
		return nil, err
	}
	if a.Instances == nil || len(a.Instances) > maxNodes {
		return nil, ErrAnswer
	}
	list := make([]instance, 0, len(a.Instances))
	for _, i := range a.Instances {
		if i.ID == "" || len(i.ID) > maxID || i.IP == "" || len(i.IP) > maxID {
			return nil, ErrAnswer
		}
		if i.Port < 0 || i.Port > 65535 {
			return nil, ErrAnswer
		}
		list = append(list, instance{i.ID, i.IP, i.Port})
	}
	return list, nil
}
