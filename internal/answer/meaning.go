// SPDX-License-Identifier: Apache-2.0

package answer

// role is what a member's name says about its value.
type meaning uint8

const (
	meansText      meaning = iota // restored
	meansMachine                  // names something for machines: never restored
	meansArguments                // JSON in a string: restored, escaped twice
	meansFree                     // whatever a tool or client defined: below it names mean nothing
	meansUsage
	meansTimings
	meansChoices
	meansOutput
	meansType       // never restored
	meansFinish     // never restored
	meansStopReason // never restored
	meansStatus     // never restored
)

// roleOf looks at a member's name as it is spelled. A name spelled with escapes
// is an unknown one: no engine writes that.
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
	case "id", "object", "model", "role", "system_fingerprint", "service_tier",
		"item_id", "call_id", "tool_call_id", "tool_use_id", "response_id", "previous_response_id",
		"signature", "thought_signature", "encrypted_content", "data", "b64_json", "obfuscation":
		return meansMachine
	}
	return meansText
}

// restores tells whether a string in this role is restored, and whether it is
// JSON itself. Inside what a tool defined, a member called "type" or
// "arguments" is just a text.
func (r meaning) restores(free bool) (yes, nested bool) {
	if free {
		return true, false
	}
	switch r {
	case meansMachine, meansType, meansFinish, meansStopReason, meansStatus:
		return false, false
	}
	return true, r == meansArguments
}

// element is the role of an array's elements: their member's, but an array of
// strings called "arguments" is not JSON in strings.
func (r meaning) element() meaning {
	if r == meansArguments {
		return meansText
	}
	return r
}

// frees tells whether names mean nothing any more below a container in this
// role.
func (r meaning) frees() bool { return r == meansFree || r == meansArguments }
