// SPDX-License-Identifier: Apache-2.0

package pii

import (
	"strings"
	"testing"
)

func TestNames(t *testing.T) {
	for name, want := range map[string]nameKind{
		"password": namePassword, "DB_PASSWORD": namePassword, "userPassword": namePassword, "pw": namePassword, "sl_pass": namePassword,
		"compass": nameOther, "bypass": nameOther, "secret": nameSecret, "client_secret": nameSecret, "clientSecret": nameSecret,
		"accessToken": nameSecret, "API_KEY": nameSecret, "apikey": nameSecret, "apiKey": nameSecret, "x-api-key": nameSecret,
		"openai_key": nameSecret, "key": nameOther, "cache_key": nameOther, "publicKey": nameOther, "monkey": nameOther,
		"secretKey": nameSecret, "AWS_SECRET_ACCESS_KEY": nameSecret, "token_count": nameOther, "max_token": nameOther,
		"authorization": nameHeader, "Proxy-Authorization": nameHeader, "t": nameOther, "": nameOther, "_": nameOther, "__": nameOther,
		strings.Repeat("a", maxName) + "token": nameOther,
	} {
		if got := kindOf([]byte(name)); got != want {
			t.Errorf("%q: %d, want %d", name, got, want)
		}
	}
}

// TestNameEndings looks up the examples of every row.
func TestNameEndings(t *testing.T) {
	for _, e := range nameEndings {
		want := e.kind
		if want == nameKey {
			want = nameSecret // by the part before
		}
		if got := kindOf([]byte(e.match)); got != want {
			t.Errorf("%s: %q is of kind %d, want %d", e.end, e.match, got, want)
		}
		if got := kindOf([]byte(e.noMatch)); got != nameOther {
			t.Errorf("%s: %q is of kind %d, want none", e.end, e.noMatch, got)
		}
	}
}
