// SPDX-License-Identifier: Apache-2.0

package pii

import (
	"strings"
	"testing"
)

func TestPrivateKey(t *testing.T) {
	body := "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQDA"
	begin, end := "-----BEGIN RSA PRIV"+"ATE KEY-----", "-----END RSA PRIV"+"ATE KEY-----"
	pem := begin + "\n" + body + "\n" + body + "=\n" + end
	cut := begin + "\n" + body
	literal := strings.ReplaceAll(pem, "\n", `\n`)
	checkFindings(t, []finding{
		{"key:\n" + pem + "\nrest", []string{"PRIVATE_KEY:" + pem}},
		{`"` + literal + `"`, []string{"PRIVATE_KEY:" + literal}},
		{cut, []string{"PRIVATE_KEY:" + cut}},
		{begin + "\nProc-Type: 4,ENCRYPTED\n\n" + body + "\n" + end, []string{"PRIVATE_KEY:" + begin + "\nProc-Type: 4,ENCRYPTED\n\n" + body + "\n" + end}},
		{begin + "\n...\n" + end, nil},
		{strings.ReplaceAll(pem, "RSA PRIV"+"ATE", "PUBLIC"), nil},
		{strings.ReplaceAll(pem, "RSA PRIV"+"ATE KEY", "CERTIFICATE"), nil},
	})
}
