// SPDX-License-Identifier: Apache-2.0

// Package method calls methods of files. want: (*os.File).Truncate (*os.Root).Create
package method

import "os"

// Cut shortens a file.
func Cut(f *os.File, r *os.Root) {
	_ = f.Truncate(0)
	_, _ = r.Create("x")
}
