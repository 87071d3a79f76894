// SPDX-License-Identifier: Apache-2.0

// Package outlier remembers which upstreams fail, so that routing can leave them
// (outlier detection). A failing engine answers fast and holds no requests, so
// without such a memory it looks idle and gets nearly all traffic.
//
// The words are Envoy's and Finagle's:
//
//   - An upstream that fails several times in a row is ejected: left out for a
//     time that doubles with each ejection.
//   - After that time it is half-open: one request at a time may probe it. A
//     success ends the ejection, a failure renews it for longer.
//   - An upstream that returns starts slowly: it may hold one request more with
//     each success.
//   - An upstream that refuses because it is busy (429, 503) is not ill. It is
//     left out for as long as its Retry-After says, or for a shorter growing time.
//   - Each failure also raises the expected cost of an attempt there, so that a
//     cached prefix on a failing upstream no longer wins.
//   - A budget bounds retries to a share of the traffic.
//
// https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/outlier
// https://twitter.github.io/finagle/guide/Clients.html#circuit-breaking
package outlier
