// SPDX-License-Identifier: Apache-2.0

// Package generic writes in a generic function. want: os.CreateTemp os.Chtimes
package generic

import (
	"os"
	"time"
)

func each[T any](all []T, do func(T)) {
	for _, v := range all {
		do(v)
	}
}

func spill[T ~string](v T) { _, _ = os.CreateTemp("", string(v)) }

// Touch does it for each.
func Touch(all []string) {
	each(all, func(name string) { _ = os.Chtimes(name, time.Time{}, time.Time{}) })
	each(all, spill[string])
}
