// SPDX-License-Identifier: Apache-2.0

//go:build cgo

package volatile

// otherCgo is CGO_ENABLED of the other build.
const otherCgo = "0"
