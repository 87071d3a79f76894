// SPDX-License-Identifier: Apache-2.0

package janitor

import (
	"fmt"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/bauxite/caddy-kvaware/janitor/pii"
)

// recognizerNamespace is where guest recognizers are registered.
const recognizerNamespace = "pii_janitor.recognizers"

// A guest recognizer is a Caddy module pii_janitor.recognizers.NAME that
// implements pii.Recognizer. It is switched on by its name in the option
// recognizers, and has no configuration but what it brings itself.

// loadGuests loads the modules that the option names and that are not built
// in. A name that is taken away again need not exist.
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
		builtin[name] = true // named twice, loaded once
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
			return nil, fmt.Errorf("recognizers: module %s is no recognizer", id)
		}
		guests = append(guests, guest)
	}
	return guests, nil
}
