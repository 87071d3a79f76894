// SPDX-License-Identifier: Apache-2.0

// Package llamacpp tests the gateway in front of llama.cpp's own server, which runs a
// tiny model with random weights. All of it is in tests.
package llamacpp
