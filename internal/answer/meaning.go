// SPDX-License-Identifier: Apache-2.0

package answer

// role is what a member's name says about its value.
type role uint8

const (
	roleText      role = iota // restored
	roleMachine               // names something for machines: never restored
	roleArguments             // JSON in a string: restored, escaped twice
	roleFree                  // whatever a tool or client defined: below it names mean nothing
	roleUsage
	roleTimings
	roleChoices
	roleOutput
	roleType       // never restored
	roleFinish     // never restored
	roleStopReason // never restored
	roleStatus     // never restored
)

// roleOf looks at a member's name as it is spelled. A name spelled with escapes
// is an unknown one: no engine writes that.
func roleOf(key []byte) role {
	switch string(key) {
	case "type":
		return roleType
	case "finish_reason":
		return roleFinish
	case "stop_reason":
		return roleStopReason
	case "status":
		return roleStatus
	case "choices":
		return roleChoices
	case "output":
		return roleOutput
	case "usage":
		return roleUsage
	case "timings":
		return roleTimings
	case "arguments", "partial_json":
		return roleArguments
	case "input", "parameters", "input_schema", "schema", "metadata":
		return roleFree
	case "id", "object", "model", "role", "system_fingerprint", "service_tier",
		"item_id", "call_id", "tool_call_id", "tool_use_id", "response_id", "previous_response_id",
		"signature", "thought_signature", "encrypted_content", "data", "b64_json", "obfuscation":
		return roleMachine
	}
	return roleText
}

// restores tells whether a string in this role is restored, and whether it is
// JSON itself. Inside what a tool defined, a member called "type" or
// "arguments" is just a text.
func (r role) restores(free bool) (yes, nested bool) {
	if free {
		return true, false
	}
	switch r {
	case roleMachine, roleType, roleFinish, roleStopReason, roleStatus:
		return false, false
	}
	return true, r == roleArguments
}

// element is the role of an array's elements: their member's, but an array of
// strings called "arguments" is not JSON in strings.
func (r role) element() role {
	if r == roleArguments {
		return roleText
	}
	return r
}

// frees tells whether names mean nothing any more below a container in this
// role.
func (r role) frees() bool { return r == roleFree || r == roleArguments }
