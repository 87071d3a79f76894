// SPDX-License-Identifier: Apache-2.0

// Package metrics reads what engines report over HTTP: their load, the capacity
// of their KV caches, the models they serve, and whether they were restarted. It
// knows the metrics of vLLM, SGLang and llama.cpp.
//
// All of these are hints, read beside the requests. An engine that reports
// nothing, or nonsense, makes no request fail or wait. Size, time and number of
// the answers are bounded. Of their text only the names of models get out, and
// these are only compared.
//
// watcher_test.go covers the Watcher with its engines and requests, models_test.go
// the lists of models with their table.
package metrics
