// SPDX-License-Identifier: Apache-2.0

package answer

// meaning is the meaning of a member's value, by the member's name.
type meaning uint8

const (
	meansText      meaning = iota // restored
	meansMachine                  // names something for machines: never restored
	meansArguments                // JSON in a string: restored, escaped twice
	meansFree                     // defined by a tool or client: below it names have no meaning
	meansUsage
	meansTimings
	meansChoices
	meansOutput
	meansType       // never restored
	meansFinish     // never restored
	meansStopReason // never restored
	meansStatus     // never restored
	meansID         // never restored
	meansObject     // never restored
)

// meaningOf takes a raw name. One with escapes, which no engine writes, is
// unknown.
func meaningOf(key []byte) meaning {
	switch string(key) {
	case "type":
		return meansType
	case "finish_reason":
		return meansFinish
	case "stop_reason":
		return meansStopReason
	case "status":
		return meansStatus
	case "id":
		return meansID
	case "object":
		return meansObject
	case "choices":
		return meansChoices
	case "output":
		return meansOutput
	case "usage":
		return meansUsage
	case "timings":
		return meansTimings
	case "arguments", "partial_json":
		return meansArguments
	case "input", "parameters", "input_schema", "schema", "metadata":
		return meansFree
	case "model", "role", "system_fingerprint", "service_tier",
		"item_id", "call_id", "tool_call_id", "tool_use_id", "response_id", "previous_response_id",
		"signature", "thought_signature", "encrypted_content", "data", "b64_json", "obfuscation":
		return meansMachine
	}
	return meansText
}

// restores reports whether a string of this meaning is restored, and whether it is
// JSON itself. free: below meansFree, where members such as "type" are just text.
func (m meaning) restores(free bool) (yes, nested bool) {
	if free {
		return true, false
	}
	switch m {
	case meansMachine, meansType, meansFinish, meansStopReason, meansStatus, meansID, meansObject:
		return false, false
	}
	return true, m == meansArguments
}

// element returns the meaning of an array's elements: the array's own, except that
// strings in an array "arguments" are not JSON.
func (m meaning) element() meaning {
	if m == meansArguments {
		return meansText
	}
	return m
}

// frees reports whether names have no meaning below a container of this meaning.
func (m meaning) frees() bool { return m == meansFree || m == meansArguments }
