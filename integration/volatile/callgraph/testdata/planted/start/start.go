// SPDX-License-Identifier: Apache-2.0

// Package start writes when it is loaded. want: os.Chdir os.Chown
package start

import "os"

var _ = os.Chdir("x")

func init() { _ = os.Chown("x", 0, 0) }
