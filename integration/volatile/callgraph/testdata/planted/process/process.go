// SPDX-License-Identifier: Apache-2.0

// Package process lets others write. want: os/exec.Command (*os/exec.Cmd).Run os.StartProcess plugin.Open
package process

import (
	"os"
	"os/exec"
	"plugin"
)

// Run runs.
func Run() {
	_ = exec.Command("touch", "x").Run()
	_, _ = os.StartProcess("touch", nil, nil)
	_, _ = plugin.Open("x.so")
}
