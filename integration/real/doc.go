// SPDX-License-Identifier: Apache-2.0

// Package real runs the gateway in front of real engines: vLLM on a CPU, with and
// without LMCache, its coordinator, and the official SDKs. `make real` installs
// them and runs the tests, which have the build tag real, since they take twenty
// minutes and 7 GB of disk. A run writes docs/compatibility.md.
//
//   - install.sh, constraints.txt: the environment
//   - model.py: the tiny model that the engines serve
//   - clients.py: the questions that the SDKs ask
//   - install-loadclients.sh: guidellm, aiperf and inference-perf, beside kv-bench
package real
