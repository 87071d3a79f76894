// SPDX-License-Identifier: Apache-2.0

// Package answer reads what engines answer, while it passes through.
//
// It does two things, in one pass and without re-serialising anything:
//
//   - It tells an [Observer] what the router learns from: the first token, the
//     usage (cached tokens above all), and how the answer ended.
//   - It restores: placeholders such as [EMAIL_1] that were put into the
//     prompt become this client's own values again. Every byte that is not
//     part of a placeholder leaves as it came.
//
// [Stream] reads text/event-stream, [Body] reads JSON; [New] picks by media
// type. Both recognise an answer by its shape and not by the path of the
// request, so that an engine's dialect, a rewritten path or an error object
// make no difference: OpenAI chat completions, completions and responses,
// Anthropic messages, llama.cpp's native completions, and any other JSON.
//
// What is restored: string values, never object keys, and not the members that
// name things for machines (ids, model, type, role, reasons, opaque
// signatures). Where a string is itself JSON (the arguments of a tool call) the
// value is escaped twice, so that both levels still parse.
//
// What is held back: only the end of a text that could be the beginning of a
// placeholder of this very request, and in a stream what has come of an event
// whose end has not.
//
// Engines are asked for identity encoding, or the caller decodes before.
// The types here are not safe for concurrent use: an answer has one writer.
package answer
