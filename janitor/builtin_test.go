// SPDX-License-Identifier: Apache-2.0

package janitor

import (
	"context"
	"testing"

	"github.com/bauxite/caddy-kvaware/janitor/pii"
	"github.com/caddyserver/caddy/v2"
)

// The built-in recognizers are modules too.
func TestBuiltinModules(t *testing.T) {
	ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
	defer cancel()
	for _, info := range pii.List() {
		module, err := ctx.LoadModuleByID(recognizerNamespace+"."+info.Name, nil)
		if err != nil {
			t.Fatal(err)
		}
		r, ok := module.(pii.Recognizer)
		if !ok || r.Name() != info.Name || r.Entity() != info.Entity {
			t.Errorf("%s: module %v", info.Name, module)
		}
	}
	module, err := ctx.LoadModuleByID(recognizerNamespace+".email", nil)
	if err != nil {
		t.Fatal(err)
	}
	spans := module.(pii.Recognizer).Find([]byte("to "+mail+" ssn "+ssn), nil)
	if len(spans) != 1 || spans[0] != (pii.Span{Start: 3, End: 3 + len(mail), Entity: "EMAIL"}) {
		t.Errorf("found %v", spans)
	}
}
