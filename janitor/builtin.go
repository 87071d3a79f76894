// SPDX-License-Identifier: Apache-2.0

package janitor

import (
	"github.com/caddyserver/caddy/v2"

	"github.com/bauxite/caddy-kvaware/janitor/pii"
)

func init() {
	for _, info := range pii.List() {
		caddy.RegisterModule(&Builtin{info: info})
	}
}

// Builtin is a built-in recognizer as a module, so that other modules can load
// it by name. The handler does not use it: it runs all built-in recognizers in
// one pass over the text, which is several times as fast.
type Builtin struct {
	info    pii.Info
	scanner *pii.Scanner
}

// CaddyModule returns the Caddy module information.
func (b *Builtin) CaddyModule() caddy.ModuleInfo {
	info := b.info
	return caddy.ModuleInfo{
		ID:  caddy.ModuleID(recognizerNamespace + "." + info.Name),
		New: func() caddy.Module { return &Builtin{info: info} },
	}
}

// Provision makes the scanner.
func (b *Builtin) Provision(caddy.Context) (err error) {
	b.scanner, err = pii.New(pii.Options{Recognizers: []string{b.info.Name}})
	return err
}

// Name implements pii.Recognizer.
func (b *Builtin) Name() string { return b.info.Name }

// Entity implements pii.Recognizer.
func (b *Builtin) Entity() pii.Entity { return b.info.Entity }

// Find implements pii.Recognizer.
func (b *Builtin) Find(text []byte, dst []pii.Span) []pii.Span {
	return b.scanner.Scan(text, dst)
}

// Interface guards
var (
	_ caddy.Module      = (*Builtin)(nil)
	_ caddy.Provisioner = (*Builtin)(nil)
	_ pii.Recognizer    = (*Builtin)(nil)
)
