// SPDX-License-Identifier: Apache-2.0

package janitor

import (
	"fmt"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/bauxite/caddy-kvaware/janitor/pii"
)

// recognizerNamespace is the namespace of recognizer modules.
const recognizerNamespace = "pii_janitor.recognizers"

// loadGuests loads the guest recognizers that the option recognizers names:
// Caddy modules pii_janitor.recognizers.NAME that implement pii.Recognizer. They
// are loaded without configuration. Built-in names are skipped, and so are names
// with a '-', which need not exist.
func loadGuests(ctx caddy.Context, names []string) ([]pii.Recognizer, error) {
	builtin := make(map[string]bool)
	for _, info := range pii.List() {
		builtin[info.Name] = true
	}
	var guests []pii.Recognizer
	for _, name := range names {
		name = strings.TrimPrefix(name, "+")
		if builtin[strings.TrimPrefix(name, "-")] || builtin[name] || strings.HasPrefix(name, "-") {
			continue
		}
		builtin[name] = true // load it once
		id := recognizerNamespace + "." + name
		if _, err := caddy.GetModule(id); err != nil {
			return nil, fmt.Errorf("recognizers: %q is neither built in nor a module %s", name, id)
		}
		module, err := ctx.LoadModuleByID(id, nil)
		if err != nil {
			return nil, fmt.Errorf("recognizers: loading %s: %v", id, err)
		}
		guest, ok := module.(pii.Recognizer)
		if !ok {
			return nil, fmt.Errorf("recognizers: module %s is not a recognizer", id)
		}
		guests = append(guests, guest)
	}
	return guests, nil
}
