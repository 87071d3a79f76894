// SPDX-License-Identifier: Apache-2.0

package janitor

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
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
		{"{\n engine_members refuse\n engine_members pass kv_transfer_params x-vllm-priority\n engine_members strip kv_transfer_params\n}",
			`{"engine_members":[{"mode":"refuse"},{"mode":"pass","names":["kv_transfer_params","x-vllm-priority"]},{"mode":"strip","names":["kv_transfer_params"]}]}`},
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
		{"{\n modus redact\n}", []string{"unrecognized option 'modus'", "takes admit_wait, allow, engine_members, in_flight_limit, max_size, mode, pattern"}},
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
		{"{\n engine_members\n}", []string{"engine_members: argument missing", "strip, refuse or pass"}},
		{"{\n engine_members drop\n}", []string{"engine_members: 'drop' is not valid", "strip, refuse or pass"}},
		{"{\n engine_members pass kv_params\n}", []string{`engine_members: unknown name "kv_params": must be one of`, "kv_transfer_params", "management", "x-override-*"}},
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
