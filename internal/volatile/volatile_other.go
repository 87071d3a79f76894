// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package volatile

func lock(bool) error              { return ErrSystem }
func check() error                 { return ErrSystem }
func forbidCoreDumps() error       { return ErrSystem }
func openForWriting() (int, error) { return 0, ErrSystem }
