// SPDX-License-Identifier: Apache-2.0

package prompt

import "bytes"

// EngineMember is the number of a request's member that steers an engine from
// inside: it names another host, another request, or what the engine files in
// its cache. Router and engine use them among themselves.
type EngineMember uint8

// EngineMembers is a set of engine members.
type EngineMembers uint64

// NumEngineMembers is the number of engine members. They are 0 to
// NumEngineMembers-1.
const NumEngineMembers = EngineMember(numActedOn - firstEngineMember)

// AllEngineMembers is the set of all engine members.
const AllEngineMembers = EngineMembers(1)<<NumEngineMembers - 1

// String returns the member's name in the JSON of a request.
func (m EngineMember) String() string { return actedOn[firstEngineMember+name(m)] }

// Has reports whether m is in the set.
func (s EngineMembers) Has(m EngineMember) bool { return s>>m&1 != 0 }

// With returns the set with m in it.
func (s EngineMembers) With(m EngineMember) EngineMembers { return s | 1<<m }

// Without returns the set without m.
func (s EngineMembers) Without(m EngineMember) EngineMembers { return s &^ (1 << m) }

// Taken is an engine member of the body that must not reach the engine.
type Taken struct {
	// Start and End are the raw range of the key and the value, with the comma
	// that separates them from a neighbour. Without it the object stays
	// well-formed, whatever else is taken out of it.
	Start, End int
	Member     EngineMember
}

// maxTaken bounds the engine members of one body. No client needs more.
const maxTaken = 1000

// place is where engines read a member. A name means nothing to them elsewhere,
// for example in the arguments of a tool, and stays.
type place uint8

const (
	// placeTop is the top level of the body, and of `parameters`, which SGLang's
	// Vertex route makes a request of.
	placeTop place = 1 << iota
	// placeArgs is anywhere in `vllm_xargs` and `sampling_params`, whose
	// `extra_args` vLLM hands to its connectors and KV cache.
	placeArgs
	// placePart is a part of a message's content.
	placePart
	// placeID is the top level, if the value is a request ID with addresses in it.
	placeID
)

// enginePlaces has a row for each engine member.
var enginePlaces = [NumEngineMembers]place{
	// vLLM and its KV connectors, LMCache among them: where another engine keeps
	// blocks, and under what keys blocks are stored and looked up.
	nameKVTransferParams - firstEngineMember:  placeTop | placeArgs,
	nameECTransferParams - firstEngineMember:  placeTop | placeArgs,
	nameKVCacheReportMode - firstEngineMember: placeArgs,
	// The key of an image in vLLM's caches, in place of the digest of its bytes.
	nameUUID - firstEngineMember: placePart,
	// vLLM's P2pNcclConnector reads the addresses of two engines from the ID.
	nameRequestID - firstEngineMember: placeID,
	// SGLang: the engine that prefills, the replica that serves, the peer that
	// has a prefix, and where encoders and results are.
	nameBootstrapHost - firstEngineMember:       placeTop,
	nameBootstrapPort - firstEngineMember:       placeTop,
	nameBootstrapRoom - firstEngineMember:       placeTop,
	nameBootstrapPairKey - firstEngineMember:    placeTop,
	nameDecodeTPSize - firstEngineMember:        placeTop,
	nameRoutedDPRank - firstEngineMember:        placeTop,
	nameDataParallelRank - firstEngineMember:    placeTop,
	nameDisaggPrefillDPRank - firstEngineMember: placeTop,
	nameKVRouterHint - firstEngineMember:        placeTop,
	nameEncoderURLs - firstEngineMember:         placeTop,
	nameNumItemsAssigned - firstEngineMember:    placeTop,
	nameNeedWaitForMMInputs - firstEngineMember: placeTop,
	nameHTTPWorkerIPC - firstEngineMember:       placeTop,
	// SGLang: another request's tokens, the keys of images in its caches, and
	// code that runs in the engine.
	nameSessionParams - firstEngineMember:        placeTop,
	nameMMHashes - firstEngineMember:             placeTop,
	nameMMContentHashes - firstEngineMember:      placeTop,
	nameCustomLogitProcessor - firstEngineMember: placeTop,
	// TensorRT-LLM: the engine that has prefilled.
	nameDisaggregatedParams - firstEngineMember: placeTop,
}

// takeEngineMembers finds the engine members outside of the messages. Where the
// package does not look for messages, it finds those in them too.
func (d *Document) takeEngineMembers() {
	if d.take == 0 {
		return
	}
	if d.dialect.AnyJSON {
		d.takeFrom(0, uint32(len(d.tape.nodes)))
		return
	}
	d.takeFrom(0, 1)
	if p := d.top[nameParameters]; p != 0 {
		d.takeFrom(p, p+1)
	}
	for _, n := range argMembers {
		if v := d.top[n]; v != 0 {
			d.takeFrom(v, d.tape.nodes[v].next)
		}
	}
}

// argMembers are the members with arguments for vLLM's connectors and KV cache.
var argMembers = [...]name{nameVLLMXArgs, nameSamplingParams}

// takeFrom takes the engine members of the objects among the nodes [from, to).
func (d *Document) takeFrom(from, to uint32) {
	for n := from; n < to; n++ {
		if v := &d.tape.nodes[n]; v.kind != kindObject || v.flags&flagDone != 0 {
			continue
		}
		if at := d.placeOf(n); at != 0 && !d.takeMembers(n, at) && n == 0 {
			d.Empty = true
		}
	}
}

// placeOf returns what an object outside of the messages is, 0 for none of the
// places.
func (d *Document) placeOf(object uint32) (at place) {
	switch {
	case object == 0:
		at = placeTop | placeID
	case object == d.top[nameParameters]:
		at = placeTop
	default:
		for _, n := range argMembers {
			if v := d.top[n]; v != 0 && v <= object && object < d.tape.nodes[v].next {
				at = placeArgs
			}
		}
	}
	if d.dialect.AnyJSON && d.find(object, nameUUID) != 0 && d.isMedia(object) {
		at |= placePart
	}
	return at
}

// takeMembers takes the engine members of the object that mean something at the
// place. It reports whether another member is left.
func (d *Document) takeMembers(object uint32, at place) (left bool) {
	nodes := d.tape.nodes
	for k := object + 1; k < nodes[object].next && len(d.Taken) <= maxTaken; k = nodes[k+1].next {
		n := nodes[k].name
		if n < firstEngineMember || n >= numActedOn || !d.takes(EngineMember(n-firstEngineMember), k+1, at) {
			left = true
			continue
		}
		from, to := d.memberRange(object, k, left)
		d.Taken = append(d.Taken, Taken{from, to, EngineMember(n - firstEngineMember)})
		for i := k; i < nodes[k+1].next; i++ {
			nodes[i].flags |= flagDone // nobody reads it, so nothing in it is scrubbed
		}
		nodes[k].flags |= flagTaken
	}
	return left
}

// takes reports whether the member with the given value is taken at the place.
func (d *Document) takes(m EngineMember, value uint32, at place) bool {
	where := enginePlaces[m] & at
	if !d.take.Has(m) || where == 0 {
		return false
	}
	return where != placeID || d.tape.nodes[value].kind == kindString && bytes.Contains(d.text(value), []byte(AddressMark))
}

// mediaMembers are the members of a part that hold media, and its types.
var mediaMembers = [...]name{nameImageURL, nameAudioURL, nameVideoURL, nameInputAudio, nameImageEmbeds, nameAudioEmbeds, nameImagePIL}

// isMedia reports whether the object is a part with media, or the mention of media
// that the engine has.
func (d *Document) isMedia(object uint32) bool {
	typ := d.stringNode(d.find(object, nameType))
	kind := nameNone
	if typ != 0 {
		kind = lookup(d.text(typ))
	}
	for _, n := range mediaMembers {
		if kind == n || d.find(object, n) != 0 {
			return true
		}
	}
	return false
}

// AddressMark is in every request ID from which vLLM's P2pNcclConnector reads the
// addresses of engines: "___prefill_addr_HOST:PORT___decode_addr_HOST:PORT_...".
const AddressMark = "_addr_"
