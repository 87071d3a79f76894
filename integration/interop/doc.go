// SPDX-License-Identifier: Apache-2.0

// Package interop holds tests of the event client against the real libzmq and
// the real msgpack, as an engine's Python code uses them: Debian's python3-zmq
// and python3-msgpack, which `make prerequisites` installs. Without them the
// tests are skipped, and in CI they fail.
package interop
