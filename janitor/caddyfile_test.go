// SPDX-License-Identifier: Apache-2.0

package janitor

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"

	"github.com/bauxite/caddy-kvaware/janitor/pii"
)

func TestUnmarshalCaddyfile(t *testing.T) {
	cases := []struct{ block, json string }{
		{``, `{}`},
		{`{ }`, `{}`},
		{"{\n mode redact\n}", `{"mode":"redact"}`},
		{"{\n mode block SSN CARD\n mode detect\n mode redact EMAIL\n}",
			`{"mode":"detect","entity_modes":{"CARD":"block","EMAIL":"redact","SSN":"block"}}`},
		{"{\n placeholder keyed\n}", `{"placeholder":"keyed"}`},
		{"{\n placeholder numbered\n}", `{"placeholder":"numbered"}`},
		{"{\n restore off\n}", `{"restore":false}`},
		{"{\n restore on\n}", `{"restore":true}`},
		{"{\n restore on EMAIL SECRET\n}", `{"restore":true,"restore_entities":["EMAIL","SECRET"]}`},
		{"{\n restore off EMAIL\n}", `{"restore":true,"restore_entities":["-EMAIL"]}`},
		{"{\n recognizers -phone +date_of_birth\n}", `{"recognizers":["-phone","+date_of_birth"]}`},
		{"{\n pattern ticket \"TCK-[0-9]{6}\"\n pattern staff S[0-9]{5}\n}", `{"patterns":{"staff":"S[0-9]{5}","ticket":"TCK-[0-9]{6}"}}`},
		{"{\n allow a@example.org 192.0.2.1\n allow b@example.org\n}", `{"allow":["a@example.org","192.0.2.1","b@example.org"]}`},
		{"{\n unknown pass\n}", `{"unknown":"pass"}`},
		{"{\n max_size 1MB\n in_flight_limit 64MiB\n}", `{"max_size":1000000,"in_flight_limit":67108864}`},
		{"{\n admit_wait 250ms\n read_timeout 1m\n}", `{"admit_wait":250000000,"read_timeout":60000000000}`},
	}
	for _, c := range cases {
		h := new(Handler)
		if err := h.UnmarshalCaddyfile(caddyfile.NewTestDispenser("pii_janitor " + c.block)); err != nil {
			t.Errorf("%s: %v", c.block, err)
			continue
		}
		if got := mustJSON(h); got != c.json {
			t.Errorf("%s: %s, want %s", c.block, got, c.json)
		}
		back := new(Handler)
		if err := json.Unmarshal([]byte(c.json), back); err != nil || mustJSON(back) != c.json {
			t.Errorf("%s does not come back: %s, %v", c.json, mustJSON(back), err)
		}
	}
}

// Every mistake is an error that names the option and, for a wrong value, what
// the option takes.
func TestCaddyfileErrors(t *testing.T) {
	cases := []struct {
		block string
		want  []string
	}{
		{`on`, []string{"pii_janitor"}},
		{"{\n modus redact\n}", []string{"unrecognized option 'modus'", "takes admit_wait, allow, in_flight_limit, max_size, mode, pattern"}},
		{"{\n mode\n}", []string{"mode: argument missing", "placeholder, redact, block or detect"}},
		{"{\n mode mask\n}", []string{"mode: 'mask' is not valid", "placeholder, redact, block or detect"}},
		{"{\n mode redact\n mode block\n}", []string{"mode is specified already"}},
		{"{\n mode redact SSN\n mode block SSN\n}", []string{"mode is specified already for SSN"}},
		{"{\n placeholder\n}", []string{"placeholder: argument missing", "numbered or keyed"}},
		{"{\n placeholder random\n}", []string{"placeholder: 'random'", "numbered or keyed"}},
		{"{\n placeholder keyed numbered\n}", []string{"placeholder: unexpected argument 'numbered'"}},
		{"{\n placeholder keyed\n placeholder keyed\n}", []string{"placeholder is specified already"}},
		{"{\n restore\n}", []string{"restore: argument missing", "on or off"}},
		{"{\n restore yes\n}", []string{"restore: 'yes' is not valid", "on or off"}},
		{"{\n restore on\n restore off\n}", []string{"restore is specified already"}},
		{"{\n recognizers\n}", []string{"recognizers: argument missing"}},
		{"{\n recognizers +\n}", []string{"recognizers: '+' is not valid"}},
		{"{\n recognizers a\n recognizers b\n}", []string{"recognizers is specified already"}},
		{"{\n pattern\n}", []string{"pattern: argument missing", "a name and a regular expression"}},
		{"{\n pattern x\n}", []string{"pattern x: regular expression missing"}},
		{"{\n pattern x y z\n}", []string{"pattern: unexpected argument 'z'"}},
		{"{\n pattern x y\n pattern x z\n}", []string{"pattern x is specified already"}},
		{"{\n allow\n}", []string{"allow: argument missing"}},
		{"{\n allow \"\"\n}", []string{"allow: '' is not valid"}},
		{"{\n unknown maybe\n}", []string{"unknown: 'maybe'", "refuse or pass"}},
		{"{\n max_size\n}", []string{"max_size: argument missing"}},
		{"{\n max_size -5MB\n}", []string{"max_size: '-5MB' is not valid", "a size above 0"}},
		{"{\n max_size 0\n}", []string{"max_size: '0' is not valid"}},
		{"{\n max_size lots\n}", []string{"max_size: 'lots' is not valid", "such as 32MB"}},
		{"{\n max_size 1MB 2MB\n}", []string{"max_size: unexpected argument '2MB'"}},
		{"{\n max_size 1MB\n max_size 2MB\n}", []string{"max_size is specified already"}},
		{"{\n in_flight_limit 100EB\n}", []string{"in_flight_limit: '100EB' is not valid"}},
		{"{\n in_flight_limit -1\n}", []string{"in_flight_limit: '-1' is not valid", "such as 512MB"}},
		{"{\n admit_wait -1s\n}", []string{"admit_wait: '-1s' is not valid", "a duration above 0"}},
		{"{\n admit_wait soon\n}", []string{"admit_wait: 'soon' is not valid"}},
		{"{\n read_timeout 0\n}", []string{"read_timeout: '0' is not valid"}},
		{"{\n read_timeout 10\n}", []string{"read_timeout: '10' is not valid", "such as 30s"}},
		{"{\n unknown pass {\n x\n }\n}", []string{"unknown: takes no block"}},
	}
	for _, c := range cases {
		h := new(Handler)
		err := h.UnmarshalCaddyfile(caddyfile.NewTestDispenser("pii_janitor " + c.block))
		if err == nil {
			t.Errorf("%s: accepted as %s", c.block, mustJSON(h))
			continue
		}
		for _, want := range append(c.want, "Testfile:") {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want %q in it", c.block, err, want)
			}
		}
	}
}

// Mistakes that only JSON can have, and those that other modules find.
func TestProvisionErrors(t *testing.T) {
	cases := []struct{ json, want string }{
		{`{"mode":"mask"}`, "mode: 'mask' is not valid; it takes placeholder, redact, block or detect"},
		{`{"entity_modes":{"SSN":"hide"}}`, "mode: 'hide' is not valid"},
		{`{"entity_modes":{"ssn":"block"}}`, `mode: unknown entity "ssn": must be one of`},
		{`{"placeholder":"x"}`, "placeholder: 'x' is not valid; it takes numbered or keyed"},
		{`{"unknown":"x"}`, "unknown: 'x' is not valid; it takes refuse or pass"},
		{`{"restore":false,"restore_entities":["EMAIL"]}`, "restore_entities has no meaning when restore is off"},
		{`{"restore_entities":["MAIL"]}`, `restore: unknown entity "MAIL"`},
		{`{"restore_entities":["-MAIL"]}`, `restore: unknown entity "MAIL"`},
		{`{"recognizers":["no_such_thing"]}`, `recognizers: "no_such_thing" is neither built in nor a module pii_janitor.recognizers.no_such_thing`},
		{`{"recognizers":["-no_such_thing"]}`, "recognizers"},
		{`{"patterns":{"x":"("}}`, `pattern "x"`},
		{`{"patterns":{"x y":"a"}}`, `pattern`},
		{`{"patterns":{"x":".*"}}`, `pattern "x"`},
		{`{"max_size":-1}`, "max_size: '-1' is not valid; it takes a size above 0"},
		{`{"in_flight_limit":-1}`, "in_flight_limit: '-1' is not valid"},
		{`{"admit_wait":-1}`, "admit_wait: '-1' is not valid; it takes a duration above 0"},
		{`{"read_timeout":-1}`, "read_timeout: '-1' is not valid"},
	}
	for _, c := range cases {
		h := new(Handler)
		if err := json.Unmarshal([]byte(c.json), h); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
		err := h.Provision(ctx)
		if err == nil {
			err = h.Validate()
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.json, err, c.want)
		}
		cancel()
	}
}

// The defaults are the documented ones.
func TestDefaults(t *testing.T) {
	h := newHandler(t)
	want := `{"mode":"placeholder","placeholder":"numbered","unknown":"refuse","max_size":32000000,` +
		`"in_flight_limit":512000000,"admit_wait":1000000000,"read_timeout":30000000000}`
	if got := mustJSON(h); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if !h.restorable("EMAIL") || h.restorable(pii.EntitySecret) {
		t.Error("restoring is not on, or restores secrets")
	}
}

// The janitor of a site runs before the handle blocks that proxy, wherever it is
// written.
func TestDirectiveOrder(t *testing.T) {
	const site = ":8080 {\n\thandle /v1/* {\n\t\trespond ok\n\t}\n\troute {\n\t\trespond x\n\t}\n\tinvoke r\n\tpii_janitor {\n\t\tmode redact\n\t}\n}\n&(r) {\n\trespond y\n}\n"
	adapter := caddyfile.Adapter{ServerType: httpcaddyfile.ServerType{}}
	out, warnings, err := adapter.Adapt([]byte(site), map[string]any{"filename": "Caddyfile"})
	if err != nil {
		t.Fatal(err, warnings)
	}
	janitor := strings.Index(string(out), `{"handler":"pii_janitor","mode":"redact"}`)
	for _, later := range []string{`"ok"`, `"x"`, `"r"`} {
		if at := strings.Index(string(out), later); janitor < 0 || at < janitor {
			t.Errorf("the janitor does not run before %s: %s", later, out)
		}
	}
}

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

// keyApp stands in for the kv_aware app.
type keyApp struct{}

func (keyApp) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "kv_aware", New: func() caddy.Module { return new(keyApp) }}
}
func (keyApp) Start() error    { return nil }
func (keyApp) Stop() error     { return nil }
func (keyApp) HashKey() []byte { return []byte("0123456789abcdef") }

func init() {
	caddy.RegisterModule(guest{})
	caddy.RegisterModule(noRecognizer{})
	caddy.RegisterModule(keyApp{})
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
	if err := bad.Provision(ctx); err == nil || !strings.Contains(err.Error(), "is no recognizer") {
		t.Errorf("error %v", err)
	}
}

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

func TestPatterns(t *testing.T) {
	h := newHandler(t, func(h *Handler) {
		h.Patterns = map[string]string{"ticket-no": "TCK-[0-9]{6}"}
		h.RestoreEntities = []string{"TICKET_NO"}
		h.Allow = []string{mail2}
	})
	e := &engine{answer: answerJSON(`{"a":"[TICKET_NO_1] [EMAIL_1]"}`)}
	w := serveTo(t, h, postChat("TCK-123456 "+mail+" "+mail2), e)
	if string(e.body) != chat("[TICKET_NO_1] [EMAIL_1] "+mail2) || w.Body.String() != `{"a":"TCK-123456 [EMAIL_1]"}` {
		t.Errorf("forwarded %s, answered %s", e.body, w.Body)
	}
}

// Keyed placeholders work in a whole configuration, with the key of the app.
func TestKeyed(t *testing.T) {
	config := caddy.Config{
		Admin: &caddy.AdminConfig{Disabled: true},
		AppsRaw: caddy.ModuleMap{
			"kv_aware": caddyconfig.JSON(keyApp{}, nil),
			"http": json.RawMessage(`{"servers":{"s":{"listen":["127.0.0.1:0"],"automatic_https":{"disable":true},
				"routes":[{"handle":[{"handler":"pii_janitor","placeholder":"keyed"}]}]}}}`),
		},
	}
	if err := caddy.Validate(&config); err != nil {
		t.Fatal(err)
	}
	h := newHandler(t)
	h.keys = keyApp{}
	_, first := serve(t, h, postChat("to "+mail+" and "+mail2))
	_, second := serve(t, h, postChat("to "+mail2))
	placeholder := string(first.body)
	placeholder = placeholder[strings.LastIndex(placeholder, "[EMAIL_"):]
	placeholder = placeholder[:strings.Index(placeholder, "]")+1]
	if len(placeholder) != len("[EMAIL_123456]") || string(second.body) != chat("to "+placeholder) {
		t.Errorf("forwarded %s, then %s", first.body, second.body)
	}
}
