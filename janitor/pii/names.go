// SPDX-License-Identifier: Apache-2.0

package pii

import "strings"

// Endings of names, separators left out and in lower case. The longest parts
// come first only for reading; any that fits counts.
var (
	passwordEndings = []string{"password", "passwd", "passphrase", "passwort", "contraseña", "motdepasse", "pwd"}
	secretEndings   = []string{"secret", "token", "apikey", "accesskey", "secretkey", "privatekey", "authkey", "appkey", "clientkey",
		"encryptionkey", "signingkey", "masterkey", "accountkey", "storagekey", "sharedkey", "servicekey", "licensekey", "sessionkey",
		"consumerkey", "serverkey", "sdkkey", "deploykey", "integrationkey", "adminkey", "merchantkey", "webhookkey", "personalkey",
		"sharedaccesskey", "presharedkey", "writekey", "apisecret", "credential", "credentials", "secretaccess", "apiauth",
		"secretkeybase", "subscriptionkey"}
	// Names that end like one of a secret and hold something else.
	otherParts = []string{"public", "pagetoken", "nexttoken", "continuationtoken", "padtoken", "eostoken", "bostoken", "unktoken",
		"septoken", "clstoken", "masktoken", "stoptoken", "numtoken", "maxtoken", "inputtoken", "outputtoken", "prompttoken",
		"synctoken", "cancellationtoken", "tokenizer", "publishable", "ispassword", "showpassword", "fieldpassword"}
)

// kindOf judges a name by its end.
func kindOf(name []byte) nameKind {
	var buf [maxName]byte
	low := buf[:0]
	bound := false // a separator or capital stands where the last word begins
	for i, c := range name {
		if isAlnum(c) || c >= 0x80 {
			if len(low) == maxName {
				return nameOther
			}
			low = append(low, lower(c))
		}
		if i > 0 && len(name)-i <= 4 && len(name)-i >= 2 && (!isAlnum(name[i-1]) || isUpper(c) && isLower(name[i-1])) {
			bound = true
		}
	}
	if len(low) < 2 {
		return nameOther
	}
	kind := nameOther
	switch {
	case endsIn(low, passwordEndings), hasEnd(low, "pass") && (bound || len(low) == 4), hasEnd(low, "pw") && (bound || len(low) == 2):
		kind = namePassword
	case endsIn(low, secretEndings):
		kind = nameSecret
	case hasEnd(low, "authorization"), hasEnd(low, "bearer") && len(low) == 6:
		kind = nameHeader
	default:
		return nameOther
	}
	for _, part := range otherParts {
		if strings.Contains(string(low), part) {
			return nameOther
		}
	}
	return kind
}

func endsIn(name []byte, endings []string) bool {
	for _, e := range endings {
		if hasEnd(name, e) {
			return true
		}
	}
	return false
}

func hasEnd(name []byte, end string) bool {
	return len(name) >= len(end) && string(name[len(name)-len(end):]) == end
}
