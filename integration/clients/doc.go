// SPDX-License-Identifier: Apache-2.0

// Package clients tests the gateway with the official SDKs of Node.js: openai,
// @anthropic-ai/sdk, ai and @langchain/openai, which testdata/runner.mjs drives. The
// engines are simulated, or llama.cpp. All of it is in tests.
package clients
