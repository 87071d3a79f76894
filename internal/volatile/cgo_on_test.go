// SPDX-License-Identifier: Apache-2.0

//go:build cgo

package volatile

// otherCgo is what CGO_ENABLED is in the build that this one is not.
const otherCgo = "0"
