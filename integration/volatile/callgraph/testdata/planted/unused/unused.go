// SPDX-License-Identifier: Apache-2.0

// Package unused writes where nothing leads yet. want: os.Create os.RemoveAll
package unused

import "os"

func forgotten() { go func() { _, _ = os.Create("x") }() }

type spool struct{ dir string }

func (s spool) drop() { _ = os.RemoveAll(s.dir) }
