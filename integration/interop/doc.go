// SPDX-License-Identifier: Apache-2.0

// Package interop tests the event client against the libzmq and msgpack that
// engines use from Python: Debian's python3-zmq and python3-msgpack, which
// `make prerequisites` installs. Without them the tests are skipped, or fail in CI.
package interop
