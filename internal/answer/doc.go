// SPDX-License-Identifier: Apache-2.0

// Package answer reads the answers of engines as they pass through.
//
// It does three things, in one pass and without writing any JSON anew:
//
//   - It reports to an [Observer]: the first token, the usage with the cached
//     tokens, and how the answer ended.
//   - It restores: placeholders of the prompt, such as [EMAIL_1], become this
//     client's own values again. Every other byte stays as it is.
//   - It notices a stream that was cut off: without its API's last event, half an
//     answer looks like a whole one.
//
// [Stream] reads text/event-stream, [Body] reads JSON; [New] picks one by the
// media type. Both recognize an answer by its shape and not by the request's
// path, so that a rewritten path or an error object makes no difference. The
// table formats has a row for each format of a stream.
//
// Values are restored in strings, but not in object keys, nor in the members
// that name things for machines: ids, model, type, role, reasons, opaque
// signatures. In a string of JSON, such as the arguments of a tool call, the
// value is escaped twice, so that both levels still parse.
//
// Held back are only the end of a text that may be the beginning of one of this
// request's placeholders, and the incomplete event at the end of a stream.
//
// The caller asks engines for identity encoding, or decodes first. The types are
// not safe for concurrent use: an answer has one writer.
//
// Tests of one file stand beside it. transcript_test.go makes random streams of
// every API with an independent client that reads them, vault_test.go is the
// model of restoring, and limits_test.go tests bounds and broken input of both
// Stream and Body.
package answer
