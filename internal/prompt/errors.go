// SPDX-License-Identifier: Apache-2.0

package prompt

// Error tells why a body was refused. Its text is fixed and holds nothing of the
// body, so it may be logged and sent to the client.
type Error struct {
	// Status is the HTTP status to answer with: 400, 413 or 415.
	Status int
	// Code is a short name for logs, metrics and errors.Is: errors with the
	// same code are the same kind of error.
	Code string
	// Param is the member at fault ("messages"), empty for the whole body.
	Param string

	text string
}

// Error returns the fixed text.
func (e *Error) Error() string { return e.text }

// Is makes errors.Is(err, ErrType) hold for a wrong type of any member.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code && (t.Param == "" || t.Param == e.Param)
}

// The kinds of refusal. Engines' parsers take more than RFC 8259: Python's
// json.loads takes UTF-16, byte order marks, NaN, lone surrogates and duplicate
// keys. All are refused, because a value leaks when the scrubber and the engine
// read the same bytes differently.
var (
	// ErrSyntax: the body is not one RFC 8259 JSON value.
	ErrSyntax = &Error{400, "invalid_json", "", "the request body is not valid JSON"}
	// ErrEncoding: the body has a byte order mark, or is UTF-16 or UTF-32.
	ErrEncoding = &Error{415, "invalid_encoding", "", "the request body must be UTF-8 JSON without a byte order mark"}
	// ErrUTF8: a string is not UTF-8.
	ErrUTF8 = &Error{400, "invalid_utf8", "", "the request body has a string that is not valid UTF-8"}
	// ErrSurrogate: an escape is half of a surrogate pair.
	ErrSurrogate = &Error{400, "lone_surrogate", "", "the request body has an escape that is half of a surrogate pair"}
	// ErrDuplicateKey: an object names a member twice.
	ErrDuplicateKey = &Error{400, "duplicate_key", "", "the request body has an object with a duplicate key"}
	// ErrDepth: the body is nested deeper than MaxDepth.
	ErrDepth = &Error{400, "too_deep", "", "the request body is nested too deeply"}
	// ErrSize: the body has more than MaxSize bytes.
	ErrSize = &Error{413, "too_large", "", "the request body is too large"}
	// ErrValues: the body has more than MaxValues values.
	ErrValues = &Error{413, "too_many_values", "", "the request body has too many JSON values"}
	// ErrType: a known member has a type that its API does not allow. The error
	// returned names the member, and errors.Is matches it with ErrType.
	ErrType = &Error{400, "invalid_type", "", "the request body must be a JSON object"}
	// ErrMissing: the member that carries the prompt is missing.
	ErrMissing = &Error{400, "missing_field", "", "the request body has no prompt"}
)

func wrongType(param, text string) *Error { return &Error{400, ErrType.Code, param, text} }
func missing(param string) *Error {
	return &Error{400, ErrMissing.Code, param, "'" + param + "' is missing"}
}

var (
	errModel        = wrongType("model", "'model' must be a string of at most 256 bytes")
	errStream       = wrongType("stream", "'stream' must be true or false")
	errMessages     = wrongType("messages", "'messages' must be a list of objects")
	errRole         = wrongType("messages.role", "'role' must be a string")
	errContent      = wrongType("messages.content", "'content' must be a string or a list of parts")
	errToolCalls    = wrongType("messages.tool_calls", "'tool_calls' must be a list of objects")
	errTools        = wrongType("tools", "'tools' must be a list")
	errFunctions    = wrongType("functions", "'functions' must be a list")
	errSystem       = wrongType("system", "'system' must be a string or a list of blocks")
	errInstructions = wrongType("instructions", "'instructions' must be a string or a list")
	errPrompt       = wrongType("prompt", "'prompt' must be a string, a list of strings or token ids")
	errInput        = wrongType("input", "'input' must be a string or a list")

	errEngineMembers = &Error{400, "too_many_engine_members", "", "the request body has too many members that steer an engine"}

	errNoMessages = missing("messages")
	errNoPrompt   = missing("prompt")
	errNoInput    = missing("input")
)

// Interface guard
var _ error = (*Error)(nil)
