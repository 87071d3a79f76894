// SPDX-License-Identifier: Apache-2.0

// Package harmless reads and prints. want nothing.
package harmless

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"time"
)

// Read reads.
func Read(w io.Writer) error {
	f, err := os.Open("x")
	if err != nil {
		return fmt.Errorf("reading: %w", err)
	}
	defer f.Close()
	if _, err := io.Copy(w, bufio.NewReader(f)); err != nil {
		return err
	}
	if _, err := time.LoadLocation("Europe/Berlin"); err != nil {
		return err
	}
	_, err = fmt.Fprintln(os.Stdout, "done")
	return err
}
