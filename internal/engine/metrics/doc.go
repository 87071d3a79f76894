// SPDX-License-Identifier: Apache-2.0

// Package engine is what an engine tells about itself: how busy it is, how
// many tokens its KV cache holds, which models it serves, and whether it has
// been restarted. It reads vLLM's, SGLang's and llama.cpp's metrics and their
// lists of models over HTTP, beside the requests and never in their way.
//
// All of it is hints. An engine that tells nothing, or nonsense, is one that
// is not known better than before: nothing here makes a request fail or wait.
// What comes from an engine is bounded in size, time and number, and none of
// its text gets out but the names of models, which are only compared.
package metrics
