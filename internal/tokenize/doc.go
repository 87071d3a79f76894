// SPDX-License-Identifier: Apache-2.0

// Package tokenize asks engines for the tokens of prompts, beside the requests and
// never in their way.
//
// A [Fetcher] asks one engine about one prompt; a [Queue] does it for many prompts,
// a few at a time for each engine. The result is [Tokens]: the ids and, where the
// engine reports them, the texts that the ids stand for.
//
// # Endpoints
//
// Engines have two endpoints for this. POST .../render takes the request as it is
// and returns exactly the ids that the engine would compute with, whatever is in the
// request. But it returns no texts, and recent engines have it only when configured.
// POST /tokenize is there by default and returns a text for each token, which tells
// exactly where in the prompt tokens end. But it takes only chats and completions, only
// some of a request's members, and does not expand images.
//
// So /tokenize is asked first when it takes every member of the request that affects
// the tokens: the ids are the same then, and the texts are worth more than the
// generality. All other requests need render. Without it their tokens stay unknown,
// because wrong ones would later contradict right ones.
//
// Where a model's prompts are not made by its chat template (gpt-oss), the two can
// differ. [Tokens.FromRender] says which one answered, and the number of tokens can
// be compared with the usage that the engine reports.
//
// The package knows nothing of Caddy. It logs nothing, and its errors are fixed
// values: they contain nothing of a prompt or an answer.
//
// answer_reader_test.go tests the scanner too; simulator_test.go tests all of it against
// the simulated engine.
package tokenize
