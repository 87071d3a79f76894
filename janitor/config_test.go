// SPDX-License-Identifier: Apache-2.0

package janitor

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/bauxite/caddy-kvaware/janitor/pii"
	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// The handler warns if a body of max_size does not fit into the share of one
// client.
func TestWarnsOfSmallLimit(t *testing.T) {
	for _, c := range []struct {
		maxSize, inFlight int64
		warns             bool
	}{
		{0, 0, false},
		{1_000_000, 2_000_000, false},
		{1_000_000, 1_999_999, true},
		{0, 20_000_000, true},
		{600_000_000, 0, true},
	} {
		var told []string
		h := &Handler{MaxSize: c.maxSize, InFlightLimit: c.inFlight}
		h.logger = zap.NewNop().WithOptions(zap.WrapCore(func(zapcore.Core) zapcore.Core {
			return zapcore.NewCore(zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()), zapcore.AddSync(lines{&told}), zap.WarnLevel)
		}))
		h.setDefaults()
		h.warn()
		if warned := len(told) == 1 && strings.Contains(told[0], "in_flight_limit is less than twice max_size"); warned != c.warns || len(told) > 1 {
			t.Errorf("max_size %d, in_flight_limit %d: %q", c.maxSize, c.inFlight, told)
		}
	}
}

// lines keeps each write as one line.
type lines struct{ to *[]string }

func (l lines) Write(b []byte) (int, error) {
	*l.to = append(*l.to, string(b))
	return len(b), nil
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
		{`{"engine_members":[{}]}`, "engine_members: '' is not valid; it takes strip, refuse or pass"},
		{`{"engine_members":[{"mode":"pass","names":["kv"]}]}`, `engine_members: unknown name "kv": must be one of bootstrap_host, `},
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

// keyApp stands in for the kv_aware app.
type keyApp struct{}

func (keyApp) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "kv_aware", New: func() caddy.Module { return new(keyApp) }}
}
func (keyApp) Start() error    { return nil }
func (keyApp) Stop() error     { return nil }
func (keyApp) HashKey() []byte { return []byte("0123456789abcdef") }

func init() { caddy.RegisterModule(keyApp{}) }

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
