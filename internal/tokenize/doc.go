// SPDX-License-Identifier: Apache-2.0

// Package tokens asks engines which tokens a prompt is made of, beside the
// request and never in its way.
//
// A [Fetcher] asks one engine about one prompt; a [Queue] does it for many
// prompts, a few at a time for each engine. What comes back is [Tokens]: the
// ids, and where the engine tells them, the texts that the ids stand for.
//
// # Which way
//
// Engines have two ways to be asked. POST .../render takes the request as it
// is and gives exactly the ids that the engine would compute with, whatever is
// in the request; but no texts, and recent engines have it only when told to.
// POST /tokenize is there by default and gives a text for each token, so that
// the places in the prompt where tokens end can be told exactly; but it takes
// only some of a request's members, and does not expand images.
//
// So /tokenize is asked first when it takes everything in the request that has
// a say in the tokens: the ids are the same then, and the texts are worth more
// than the generality. All other requests need render; without it their tokens
// stay unknown, because wrong ones would later contradict right ones.
//
// Where a model's prompts are not made by its chat template (gpt-oss), the two
// ways can differ; [Tokens.Rendered] says which one it was, and the number of
// tokens can be held against the usage that the engine reports.
//
// The package knows nothing of Caddy. It logs nothing, and its errors are fixed
// values: nothing of a prompt or an answer is in them.
package tokenize
