// SPDX-License-Identifier: Apache-2.0

package kvaware

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/bauxite/caddy-kvaware/internal/outlier"
)

func TestEjectCaddyfile(t *testing.T) {
	for _, c := range []struct{ in, want, err string }{
		{in: "off", want: `{"eject":{"off":true}}`},
		{in: "{\n failures 5\n base 1s\n max 1m\n share 50%\n}", want: `{"eject":{"failures":5,"base":1000000000,"max":60000000000,"share":0.5}}`},
		{in: "{\n max 1h\n base 30s\n}", want: `{"eject":{"base":30000000000,"max":3600000000000}}`},
		{in: "{\n share 1\n}", want: `{"eject":{"share":1}}`},
		{in: "", err: "eject takes off, or a block of options"},
		{in: "on", err: "eject takes off, or a block of options"},
		{in: "off now", err: "eject takes off, or a block of options"},
		{in: "off {\n base 1s\n}", err: "eject off takes no other options"},
		{in: "{\n}", err: "eject takes off, or a block of options"},
		{in: "{\n after 3\n}", err: "unrecognized option 'after': eject takes base, failures, max, share"},
		{in: "{\n base 1s\n base 2s\n}", err: "base is given twice"},
		{in: "{\n failures 0\n}", err: "eject failures takes a number from 1 to 100"},
		{in: "{\n failures 101\n}", err: "eject failures takes a number from 1 to 100"},
		{in: "{\n base 1ms\n}", err: "eject base takes a duration from 100ms to 1h"},
		{in: "{\n base soon\n}", err: "eject base takes a duration from 100ms to 1h"},
		{in: "{\n max 1s\n}", err: "eject max takes a duration from base to 24h"},
		{in: "{\n share 0\n}", err: "eject share takes a number above 0 and up to 1"},
		{in: "{\n share 101%\n}", err: "eject share takes a number above 0 and up to 1"},
		{in: "{\n share NaN\n}", err: "eject share takes a number above 0 and up to 1"},
	} {
		t.Run(c.in, func(t *testing.T) {
			var p Policy
			err := p.UnmarshalCaddyfile(caddyfile.NewTestDispenser("kv_aware {\n eject " + c.in + "\n}"))
			checkParse(t, &p, err, c.want, c.err)
		})
	}
}

func TestEjectJSON(t *testing.T) {
	for in, wrong := range map[string]error{
		`{"failures":2}`:           nil,
		`{"off":true}`:             nil,
		`{"off":true,"base":"1s"}`: errEjectOff,
		`{"failures":-1}`:          errEjectFailures,
		`{"base":"2h"}`:            errEjectBase,
		`{"base":"1m","max":"1s"}`: errEjectMax,
		`{"share":1.5}`:            errEjectShare,
	} {
		e := new(Eject)
		if err := json.Unmarshal([]byte(in), e); err != nil {
			t.Fatal(err)
		}
		err := e.check()
		if (err == nil) != (wrong == nil) || wrong != nil && err.Error() != wrong.Error() {
			t.Errorf("%s: error %v, want %v", in, err, wrong)
		}
	}
}

func TestEjectDefaults(t *testing.T) {
	var none *Eject
	want := outlier.Options{Failures: 3, Base: 2 * time.Second, Max: 15 * time.Second, Share: .9}
	if got := none.options(); got != want {
		t.Errorf("got %+v", got)
	}
	long := &Eject{Base: 60_000_000_000}
	if got := long.options().Max; got != time.Minute {
		t.Errorf("max %v with a base of a minute", got)
	}
}
