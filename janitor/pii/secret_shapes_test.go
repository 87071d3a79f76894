// SPDX-License-Identifier: Apache-2.0

package pii

import "testing"

func TestShapes(t *testing.T) {
	hex := "0123456789abcdef0123456789abcdef"
	checkFindings(t, []finding{
		{"bot 7213808860:" + "AAH1bjqpKKW3maRSPAxzIU-0v6xNuq2-NjM", []string{"SECRET:7213808860:" + "AAH1bjqpKKW3maRSPAxzIU-0v6xNuq2-NjM"}},
		{"Nzk5MjgxNDk0NDc2NDU1OTg3." + "YABS5g.2lmzECVlZv3vv6miVnUaKPQi2wI", []string{"SECRET:Nzk5MjgxNDk0NDc2NDU1OTg3." + "YABS5g.2lmzECVlZv3vv6miVnUaKPQi2wI"}},
		{"client YYz7Q" + "~Sudoqwap1PnzEBA3zqBK~i5uesDIv.C end", []string{"SECRET:YYz7Q" + "~Sudoqwap1PnzEBA3zqBK~i5uesDIv.C"}},
		{"It is YYz7Q" + "~Sudoqwap1PnzEBA3zqBK~i5uesDIvxC9.", []string{"SECRET:YYz7Q" + "~Sudoqwap1PnzEBA3zqBK~i5uesDIvxC9"}},
		{"key 8d5db58992f4f1876ede986939b9c6d14ee6" + "NRAL", []string{"SECRET:8d5db58992f4f1876ede986939b9c6d14ee6" + "NRAL"}},
		{"x " + hex + "-us12", []string{"SECRET:" + hex + "-us12"}},
		{"1308742762612587" + "|rhoK1cbv0DOU_RTX_87O4MkX7AI", []string{"SECRET:1308742762612587" + "|rhoK1cbv0DOU_RTX_87O4MkX7AI"}},
		{"https://hooks.sl" + "ack.com/services/T0DCUJB1Q/B0DD08H5G/bJtrpFi1fO1JMCcwLx8uZyAg", []string{"SECRET:https://hooks.sl" + "ack.com/services/T0DCUJB1Q/B0DD08H5G/bJtrpFi1fO1JMCcwLx8uZyAg"}},
		{hex, nil},
		{"clm38808:AgencyIdentificationCodeContentType", nil},
	})
}
