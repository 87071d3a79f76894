// SPDX-License-Identifier: Apache-2.0

// Package dispatch writes behind interfaces. want: os.Remove os.Link (*os.File).Chown
package dispatch

import "os"

type store interface{ put(name string) }

type memory struct{}

func (memory) put(string) {}

type disk struct{}

func (disk) put(name string) { _ = os.Remove(name) }

type promoted struct{ linker }

type linker struct{}

func (linker) put(name string) { _ = os.Link(name, name+"2") }

var stores = []store{memory{}, disk{}, promoted{}}

// Handle is what a server would call.
func Handle() {
	for _, s := range stores {
		s.put("x")
	}
}

type owned interface{ Chown(uid, gid int) error }

// Give looks harmless where it is called.
func Give() error {
	var o owned = os.Stdout
	return give(o)
}

func give(o owned) error { return o.Chown(0, 0) }
