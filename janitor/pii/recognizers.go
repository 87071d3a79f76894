// SPDX-License-Identifier: Apache-2.0

package pii

// Labels of the built-in recognisers. National numbers carry their country,
// so that a mode can be set for one of them.
const (
	EntityEmail      Entity = "EMAIL"
	EntityCard       Entity = "CARD"
	EntityIBAN       Entity = "IBAN"
	EntityPhone      Entity = "PHONE"
	EntityIP         Entity = "IP"
	EntityMAC        Entity = "MAC"
	EntitySSN        Entity = "SSN"
	EntityITIN       Entity = "ITIN"
	EntitySecret     Entity = "SECRET"
	EntityJWT        Entity = "JWT"
	EntityPrivateKey Entity = "PRIVATE_KEY"
)

// recognizer ids index builtins and recognizerSet.
const (
	recEmail = iota
	recCard
	recIBAN
	recPhone
	recIP
	recIPPrivate
	recSSN
	recITIN
	recSecret
	recJWT
	recPrivateKey
	recURLCredentials
	recognizerCount
)

type recognizerSet [recognizerCount]bool

// builtin is one entry of the registry.
type builtin struct {
	name   string
	entity Entity
	on     bool
	doc    string
}

// builtins is the registry, indexed by recognizer id.
var builtins = [recognizerCount]builtin{
	recEmail: {"email", EntityEmail, true,
		"E-mail addresses, international ones and %40 included; the top-level domain must exist (RFC 5322, RFC 6531, IANA root zone). git@host:path and user@host without a domain are left."},
	recCard: {"card", EntityCard, true,
		"Payment card numbers: brand ranges and lengths, Luhn check digit (ISO/IEC 7812-1), together or in the groups printed on cards."},
	recIBAN: {"iban", EntityIBAN, true,
		"International bank account numbers: country lengths of the SWIFT IBAN registry, check digits mod 97 (ISO 13616), together or in groups."},
	recPhone: {"phone", EntityPhone, true,
		"Phone numbers: international with a valid country code (ITU-T E.164), North American 3-3-4 groups, national formats with a leading 0; other forms only beside a word such as phone, call or fax."},
	recIP: {"ip", EntityIP, true,
		"IPv4 and IPv6 addresses that are public unicast (IANA special-purpose registries); versions, section numbers and documentation ranges are left."},
	recIPPrivate: {"ip_private", EntityIP, false,
		"IPv4 and IPv6 addresses of every other kind: private, loopback, link-local, documentation, multicast."},
	recSSN: {"ssn", EntitySSN, true,
		"US social security numbers: area, group and serial rules (SSA), in 3-2-4 groups; nine digits together only beside a word such as ssn."},
	recITIN: {"itin", EntityITIN, true,
		"US individual taxpayer numbers: 9xx with the group ranges of the IRS, in 3-2-4 groups; nine digits together only beside a word such as itin."},
	recSecret: {"secret", EntitySecret, true,
		"API keys and tokens of vendors by prefix, length and alphabet (see the table of formats)."},
	recJWT: {"jwt", EntityJWT, true,
		"JSON Web Tokens (RFC 7519): a header that decodes to a JSON object with alg, three parts."},
	recPrivateKey: {"private_key", EntityPrivateKey, true,
		"PEM and OpenSSH private keys (RFC 7468), from BEGIN to END."},
	recURLCredentials: {"url_credentials", EntitySecret, true,
		"Passwords in URLs of the form scheme://user:password@host (RFC 3986, 3.2.1)."},
}

func builtinByName(name string) int {
	for id := range builtins {
		if builtins[id].name == name {
			return id
		}
	}
	return -1
}

func defaultSet() (set recognizerSet) {
	for id := range builtins {
		set[id] = builtins[id].on
	}
	return set
}

// rank orders entities by how specific their evidence is: lower wins when two
// findings of one length compete.
func rank(e Entity) int {
	switch e {
	case EntityPrivateKey:
		return 0
	case EntityJWT:
		return 1
	case EntitySecret:
		return 2
	case EntityIBAN:
		return 3
	case EntityCard:
		return 4
	case EntityEmail:
		return 5
	case EntityPhone:
		return 100
	}
	return 50
}
