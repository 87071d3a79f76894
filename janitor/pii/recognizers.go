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
	EntityBirth      Entity = "DOB"
	EntityPassport   Entity = "PASSPORT"
	EntityLicense    Entity = "DRIVER_LICENSE"
	EntityCrypto     Entity = "CRYPTO"
	EntityABA        Entity = "ABA"
	EntityNHS        Entity = "NHS"
	EntityNINO       Entity = "NINO"
	EntityNPI        Entity = "NPI"
	EntityUSMBI      Entity = "US_MBI"
	EntityUSDEA      Entity = "US_DEA"
	EntityCASIN      Entity = "CA_SIN"
	EntityAUTFN      Entity = "AU_TFN"
	EntityAUABN      Entity = "AU_ABN"
	EntityAUMedicare Entity = "AU_MEDICARE"
	EntityNLBSN      Entity = "NL_BSN"
	EntityPESEL      Entity = "PESEL"
	EntityTRID       Entity = "TR_ID"
	EntityDETaxID    Entity = "DE_TAX_ID"
	EntityDEKVNR     Entity = "DE_KVNR"
	EntityBRCPF      Entity = "BR_CPF"
	EntityBRCNPJ     Entity = "BR_CNPJ"
	EntitySEPNR      Entity = "SE_PNR"
	EntityAadhaar    Entity = "AADHAAR"
	EntityINPAN      Entity = "IN_PAN"
	EntityKRRRN      Entity = "KR_RRN"
	EntityZAID       Entity = "ZA_ID"
	EntityFRNIR      Entity = "FR_NIR"
	EntityESNIF      Entity = "ES_NIF"
	EntityITFiscal   Entity = "IT_FISCAL"
	EntitySGFIN      Entity = "SG_FIN"
	EntityFIHETU     Entity = "FI_HETU"
	EntityCNID       Entity = "CN_ID"
	EntityMXCURP     Entity = "MX_CURP"
	EntityPLNIP      Entity = "PL_NIP"
	EntityFRSPI      Entity = "FR_SPI"
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
	recAssignment
	recMAC
	recBirth
	recPassport
	recLicense
	recCrypto
	recABA
	recNHS
	recNINO
	recNPI
	recUSMBI
	recUSDEA
	recCASIN
	recAUTFN
	recAUABN
	recAUMedicare
	recNLBSN
	recPESEL
	recTRID
	recDETaxID
	recDEKVNR
	recBRCPF
	recBRCNPJ
	recSEPNR
	recAadhaar
	recINPAN
	recKRRRN
	recZAID
	recFRNIR
	recESNIF
	recITFiscal
	recSGFIN
	recFIHETU
	recCNID
	recMXCURP
	recPLNIP
	recFRSPI
	recognizerCount
)

// recognizerSet tells for each recogniser whether it is on.
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
		"Phone numbers: international with a valid country code (ITU-T E.164), North American 3-3-4 groups, the national groupings of some thirty countries; other forms only beside a word such as phone, call or fax, in one of a dozen languages."},
	recIP: {"ip", EntityIP, true,
		"IPv4 and IPv6 addresses that are public unicast (IANA special-purpose registries); versions, section numbers, object identifiers and documentation ranges are left."},
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
	recAssignment: {"assignment", EntitySecret, true,
		"Values assigned to names such as password, client_secret or api_key, in program text, configuration, JSON, XML and HTTP headers; name and value are judged, so that prose, variables and placeholders are left. Passwords that are told (my password is ...) or stand behind an option, when they hold a digit."},
	recMAC: {"mac", EntityMAC, true,
		"MAC-48 and EUI-64 hardware addresses in pairs or in groups of four (IEEE 802), but for the broadcast and the empty one."},
	recBirth: {"dob", EntityBirth, true,
		"Dates of birth: a date behind a word such as born, birthday or DOB."},
	recPassport: {"passport", EntityPassport, true,
		"Passport numbers: six to ten letters and digits behind the word passport in one of several languages (ICAO 9303 lengths)."},
	recLicense: {"driver_license", EntityLicense, true,
		"Driver's licence numbers: six to twenty letters and digits behind words such as driver's license."},
	recCrypto: {"crypto", EntityCrypto, true,
		"Cryptocurrency addresses: Bitcoin and Litecoin with base58check or bech32 checksums (BIP 173, BIP 350), Ethereum with its mixed-case checksum (EIP-55)."},
	recABA: {"us_aba", EntityABA, true,
		"US bank routing numbers: Federal Reserve prefixes, weights 3-7-1 mod 10, beside a word such as routing."},
	recNHS: {"uk_nhs", EntityNHS, true,
		"UK NHS numbers: mod 11 (NHS Data Dictionary), beside a word such as NHS."},
	recNINO: {"uk_nino", EntityNINO, true,
		"UK national insurance numbers: the prefixes and suffixes of HMRC's manual NIM39110."},
	recNPI: {"us_npi", EntityNPI, true,
		"US national provider identifiers: Luhn with prefix 80840 (45 CFR 162.406), beside a word such as NPI."},
	recUSMBI: {"us_mbi", EntityUSMBI, true,
		"US Medicare beneficiary identifiers: the character rules of CMS, beside a word such as Medicare."},
	recUSDEA: {"us_dea", EntityUSDEA, true,
		"US DEA registration numbers of prescribers: check digit, beside the word DEA."},
	recCASIN: {"ca_sin", EntityCASIN, true,
		"Canadian social insurance numbers: Luhn, beside a word such as SIN."},
	recAUTFN: {"au_tfn", EntityAUTFN, true,
		"Australian tax file numbers: weights mod 11, beside a word such as TFN."},
	recAUABN: {"au_abn", EntityAUABN, true,
		"Australian business numbers: weights mod 89, beside a word such as ABN."},
	recAUMedicare: {"au_medicare", EntityAUMedicare, true,
		"Australian Medicare numbers: weights mod 10, beside the word Medicare."},
	recNLBSN: {"nl_bsn", EntityNLBSN, true,
		"Dutch citizen service numbers: eleven test, beside a word such as BSN."},
	recPESEL: {"pl_pesel", EntityPESEL, true,
		"Polish PESEL numbers: weights mod 10, beside the word PESEL."},
	recTRID: {"tr_id", EntityTRID, true,
		"Turkish identity numbers: two check digits, beside a word such as kimlik."},
	recDETaxID: {"de_tax_id", EntityDETaxID, true,
		"German tax identification numbers: ISO/IEC 7064 MOD 11,10, beside a word such as Steuer-ID."},
	recDEKVNR: {"de_kvnr", EntityDEKVNR, true,
		"German health insurance numbers: cross sums mod 10 (GKV-Spitzenverband), beside a word such as Krankenversicherung."},
	recBRCPF: {"br_cpf", EntityBRCPF, true,
		"Brazilian CPF numbers: two check digits mod 11; without punctuation beside the word CPF."},
	recBRCNPJ: {"br_cnpj", EntityBRCNPJ, true,
		"Brazilian CNPJ numbers: two check digits mod 11; without punctuation beside the word CNPJ."},
	recSEPNR: {"se_pnr", EntitySEPNR, true,
		"Swedish personal identity numbers: date and Luhn (Skatteverket), beside a word such as personnummer."},
	recAadhaar: {"in_aadhaar", EntityAadhaar, true,
		"Indian Aadhaar numbers: Verhoeff check digit (UIDAI), beside the word Aadhaar."},
	recINPAN: {"in_pan", EntityINPAN, true,
		"Indian permanent account numbers: letters of the kind of holder, beside a word such as PAN."},
	recKRRRN: {"kr_rrn", EntityKRRRN, true,
		"Korean resident registration numbers: date and sex digit in 6-7 groups; together beside a word such as RRN."},
	recZAID: {"za_id", EntityZAID, true,
		"South African identity numbers: date, citizenship and Luhn, beside words such as identity."},
	recFRNIR: {"fr_nir", EntityFRNIR, true,
		"French social security numbers (NIR): sex, month, key mod 97 (INSEE)."},
	recESNIF: {"es_nif", EntityESNIF, true,
		"Spanish NIF, DNI and NIE numbers: letter mod 23, beside a word such as DNI or with a hyphen."},
	recITFiscal: {"it_fiscal", EntityITFiscal, true,
		"Italian codice fiscale: check letter (DM 23 December 1976)."},
	recSGFIN: {"sg_fin", EntitySGFIN, true,
		"Singapore NRIC and FIN: check letter by series."},
	recFIHETU: {"fi_hetu", EntityFIHETU, true,
		"Finnish personal identity codes: date and check character mod 31 (DVV)."},
	recCNID: {"cn_id", EntityCNID, true,
		"Chinese resident identity numbers: date and ISO/IEC 7064 MOD 11-2 (GB 11643)."},
	recPLNIP: {"pl_nip", EntityPLNIP, true,
		"Polish tax numbers (NIP): weights mod 11, beside the word NIP."},
	recFRSPI: {"fr_spi", EntityFRSPI, true,
		"French tax numbers (SPI): key mod 511 (DGFiP), beside words such as fiscal."},
	recMXCURP: {"mx_curp", EntityMXCURP, true,
		"Mexican CURP: date, sex and check digit (RENAPO)."},
}

// builtinByName returns the id of a recogniser, -1 for a name that is none.
func builtinByName(name string) int {
	for id := range builtins {
		if builtins[id].name == name {
			return id
		}
	}
	return -1
}

// defaultSet is what is on without options.
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
