// SPDX-License-Identifier: Apache-2.0

package janitor

import (
	"context"
	"strings"
	"testing"

	"github.com/bauxite/caddy-kvaware/janitor/pii"
	"github.com/caddyserver/caddy/v2"
)

// guest is a recognizer of another module.
type guest struct{}

func (guest) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "pii_janitor.recognizers.test_guest", New: func() caddy.Module { return new(guest) }}
}
func (guest) Name() string       { return "test_guest" }
func (guest) Entity() pii.Entity { return "STARSHIP" }
func (guest) Find(text []byte, dst []pii.Span) []pii.Span {
	if i := strings.Index(string(text), "Heart of Gold"); i >= 0 {
		dst = append(dst, pii.Span{Start: i, End: i + len("Heart of Gold"), Entity: "STARSHIP"})
	}
	return dst
}

// noRecognizer is a module in the namespace that is no recognizer.
type noRecognizer struct{}

func (noRecognizer) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "pii_janitor.recognizers.test_nothing", New: func() caddy.Module { return new(noRecognizer) }}
}

func init() {
	caddy.RegisterModule(guest{})
	caddy.RegisterModule(noRecognizer{})
}

func TestGuests(t *testing.T) {
	h := newHandler(t, func(h *Handler) {
		h.Recognizers = []string{"+test_guest", "-email"}
		h.EntityModes = map[string]string{"STARSHIP": "placeholder"}
	})
	_, e := serve(t, h, postChat("the Heart of Gold of "+mail))
	if string(e.body) != chat("the [STARSHIP_1] of "+mail) {
		t.Errorf("forwarded %s", e.body)
	}
	if got := counted(t, "caddy_pii_janitor_findings_total", "STARSHIP"); got != 1 {
		t.Errorf("counted %g", got)
	}
	bad := &Handler{Recognizers: []string{"+test_nothing"}}
	ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
	defer cancel()
	if err := bad.Provision(ctx); err == nil || !strings.Contains(err.Error(), "is not a recognizer") {
		t.Errorf("error %v", err)
	}
}
