// SPDX-License-Identifier: Apache-2.0

package pii

import "testing"

// TestShapes scans one secret of each shape, and the nearest text that is none.
func TestShapes(t *testing.T) {
	hex := "0123456789abcdef0123456789abcdef"
	long := "a8Fk29dKq01LzPw73bXca8Fk29dKq01LzPw73bXca8Fk29dKq01" // 51 characters
	s := scanner(t, Options{Recognizers: []string{"secret"}})
	for _, c := range []struct{ vendor, match, noMatch string }{
		{"telegram", "bot «7213808860:" + "AAH1bjqpKKW3maRSPAxzIU-0v6xNuq2-NjM»", "clm38808:AgencyIdentificationCodeContentType"},
		{"discord", "«Nzk5MjgxNDk0NDc2NDU1OTg3." + "YABS5g.2lmzECVlZv3vv6miVnUaKPQi2wI»", "Nzk5MjgxNDk0NDc2NDU1OTg3." + "YABS5.2lmzECVlZv3vv6miVnUaKPQi2wI"},
		{"entra", "client «YYz7Q" + "~Sudoqwap1PnzEBA3zqBK~i5uesDIv.C» end", "client YYzaQ" + "~Sudoqwap1PnzEBA3zqBK~i5uesDIv.C end"},
		{"entra at the end of a sentence", "It is «YYz7Q" + "~Sudoqwap1PnzEBA3zqBK~i5uesDIvxC9».", "It is YYz7Q" + "~Sudoqwap1PnzEBA3zqBK."},
		{"azure platform", "«" + long + "wJQQJ" + hex[:28] + "»", long + "wJQQK" + hex[:28]},
		{"new relic", "key «8d5db58992f4f1876ede986939b9c6d14ee6" + "NRAL»", "key 8d5db58992f4f1876ede986939b9c6d14ee6" + "NRAM"},
		{"atlas", "«8d5db58992f4f1" + ".atlasv1." + long + "8d5db5»", "8d5db58992f4f1" + ".atlasv2." + long + "8d5db5"},
		{"mailchimp", "x «" + hex + "-us12»", "x " + hex + "-eu12"},
		{"facebook", "«1308742762612587" + "|rhoK1cbv0DOU_RTX_87O4MkX7AI»", "1308742762612587" + "|rhoK1cbv0DOU_RTX_87O4MkX7"},
		{"google client", "«130874276261-" + hex + ".apps.googleusercontent.com»", "130874276261-" + hex + ".apps.example.com"},
		{"maxmind", "«a8Fk29_" + long[:29] + "_mmk»", "a8Fk29_" + long[:29] + "_mml"},
		{"slack webhook", "«https://hooks.sl" + "ack.com/services/T0DCUJB1Q/B0DD08H5G/bJtrpFi1fO1JMCcwLx8uZyAg»", "https://hooks.slack.com/services/"},
	} {
		text, want := marked(c.match)
		if got := found(s, text); len(got) != 1 || got[0] != "SECRET:"+want[0] {
			t.Errorf("%s: %q: got %q", c.vendor, text, got)
		}
		if got := found(s, c.noMatch); got != nil {
			t.Errorf("%s: %q: got %q, want nothing", c.vendor, c.noMatch, got)
		}
	}
}
