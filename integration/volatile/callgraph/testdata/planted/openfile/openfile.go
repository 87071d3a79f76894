// SPDX-License-Identifier: Apache-2.0

// Package openfile opens with flags. want: os.OpenFile
package openfile

import "os"

// Log appends.
func Log() (*os.File, error) { return os.OpenFile("x", os.O_APPEND, 0o600) }
