// SPDX-License-Identifier: Apache-2.0

package pii

import (
	"bytes"
	"encoding/binary"
)

// context is a set of topics that words near a candidate speak of.
type context uint64

const (
	ctxPhone  context = 1 << iota
	ctxCall           // words that speak of phones among much else
	ctxNumber         // words that speak of numbers of all kinds
	ctxCard
	ctxSSN
	ctxITIN
	ctxIP
	ctxFrom // where a connection or a version comes from
	ctxPassport
	ctxIBAN
	ctxDriver
	ctxLicense
	ctxLicenseOnly
	ctxBirth
	ctxMAC
	ctxCrypto
	ctxABA
	ctxNPI
	ctxMBI
	ctxDEA
	ctxCASIN
	ctxAUTFN
	ctxAUABN
	ctxMedicare
	ctxNHS
	ctxNINO
	ctxBSN
	ctxPESEL
	ctxTRID
	ctxDETax
	ctxKVNR
	ctxCPF
	ctxCNPJ
	ctxSEPNR
	ctxAadhaar
	ctxPAN
	ctxKRRRN
	ctxZAID
	ctxFRNIR
	ctxNIF
	ctxFiscal
	ctxFIN
	ctxHETU
	ctxCNID
	ctxCURP
	ctxNIP
	ctxSPI
	ctxVersion // version, section, chapter: dotted numbers are no addresses
	ctxUpdate  // words of change logs: the numbers in such a line are versions
)

// contextWords are the words that raise confidence, by topic. They are
// compared in lower case; non-ASCII letters are compared as their bytes.
var contextWords = func() map[string]context {
	words := make(map[string]context)
	for topic, list := range map[context][]string{
		ctxPhone: {"phone", "phones", "telephone", "tel", "mobile", "cellphone", "fax", "whatsapp", "sms", "landline", "hotline",
			"voicemail", "pager", "telefon", "telefonnummer", "mobil", "mobilnummer", "rufnummer", "handynummer", "téléphone", "tél", "Tél",
			"teléfono", "telefono", "celular", "móvil", "movil", "cellulare", "telefoon", "telefoonnummer", "komórka", "puhelin",
			"telefone", "telemóvel", "contacto", "ph", "mob", "msisdn", "phonenumber", "telephonenumber", "mobilenumber",
			"телефон", "Телефон", "телефону", "тел", "Тел", "моб", "τηλέφωνο", "Τηλέφωνο", "κινητό", "هاتف", "جوال", "फोन", "मोबाइल", "โทร"},
		ctxCall: {"call", "calling", "called", "dial", "ring", "answering", "reach", "office", "cell", "cellular", "contact",
			"handy", "portable", "rückruf", "Rückruf", "anruf", "anrufen", "rufen", "appelez", "appeler", "llámame", "llamar", "ligue", "звоните", "позвоните"},
		ctxNumber: {"number", "nummer", "numéro", "número", "numero", "номер"},
		ctxCard: {"card", "cards", "credit", "debit", "visa", "mastercard", "amex", "maestro", "discover", "diners", "jcb", "cc", "pan",
			"cardnumber", "creditcard", "kreditkarte", "karte", "carte", "tarjeta", "carta", "cartão", "kaart", "karta"},
		ctxSSN:  {"ssn", "ssns", "social", "ssid"},
		ctxITIN: {"itin", "taxpayer", "tax", "tin"},
		ctxIP: {"ip", "ips", "ipv4", "ipv6", "host", "address", "addr", "server", "client", "remote", "peer", "dns", "resolver",
			"nameserver", "gateway", "ping", "traceroute", "ssh", "whois", "connect", "connecting", "connected"},
		ctxFrom:        {"from"},
		ctxIBAN:        {"iban", "account", "bank", "konto", "compte", "cuenta", "conto", "rekening"},
		ctxPassport:    {"passport", "passports", "reisepass", "passeport", "pasaporte", "passaporto", "passaporte", "paspoort", "paszport"},
		ctxDriver:      {"driver", "drivers", "driving"},
		ctxLicense:     {"license", "licence", "licenses", "licences", "dl", "dln", "führerschein", "fuehrerschein", "führerscheinnummer", "rijbewijs", "patente"},
		ctxLicenseOnly: {"dln", "führerschein", "fuehrerschein", "führerscheinnummer", "rijbewijs"},
		ctxBirth:       {"born", "birth", "birthday", "birthdate", "dob", "geboren", "geburtsdatum", "geb", "naissance", "né", "née", "nacimiento", "nacido", "nascita", "nato", "nata", "nascimento", "geboortedatum", "urodzenia", "dateofbirth"},
		ctxMAC:         {"mac", "macs", "hardware", "ethernet", "wifi", "bluetooth", "bssid"},
		ctxCrypto:      {"eth", "ether", "ethereum", "wallet", "wallets", "crypto", "btc", "bitcoin", "erc", "usdt", "usdc", "metamask", "polygon", "contract"},
		ctxABA:         {"aba", "routing", "rtn", "bank"},
		ctxNPI:         {"npi", "provider", "prescriber"},
		ctxMBI:         {"mbi", "medicare", "beneficiary", "hicn"},
		ctxDEA:         {"dea", "prescriber"},
		ctxCASIN:       {"sin", "nas", "insurance", "assurance"},
		ctxAUTFN:       {"tfn", "tax"},
		ctxAUABN:       {"abn"},
		ctxMedicare:    {"medicare"},
		ctxNHS:         {"nhs", "patient", "health"},
		ctxNINO:        {"nino", "ni", "insurance"},
		ctxBSN:         {"bsn", "burgerservicenummer", "sofi", "sofinummer"},
		ctxPESEL:       {"pesel"},
		ctxTRID:        {"kimlik", "tckn", "tc", "turkish", "turkey", "türk", "vatandaşlık", "kişi", "kimliği"},
		ctxDETax:       {"steuer", "steuerid", "idnr", "identifikationsnummer", "steueridentifikationsnummer", "steuernummer", "tin"},
		ctxKVNR:        {"krankenversicherung", "krankenversichertennummer", "versichertennummer", "versicherung", "krankenkasse", "kvnr", "egk", "gkv"},
		ctxCPF:         {"cpf", "contribuinte"},
		ctxCNPJ:        {"cnpj"},
		ctxSEPNR:       {"personnummer", "pnr", "personnr", "samordningsnummer", "swedish", "svenskt"},
		ctxAadhaar:     {"aadhaar", "aadhar", "uidai", "uid", "आधार"},
		ctxPAN:         {"pan", "permanent", "income"},
		ctxKRRRN:       {"rrn", "korean", "resident", "주민등록번호", "주민번호"},
		ctxZAID:        {"identity", "rsa", "sa", "african"},
		ctxFRNIR:       {"nir", "sécurité", "securite", "sociale", "sécu", "secu"},
		ctxNIF:         {"nif", "dni", "nie", "documento", "identidad"},
		ctxFiscal:      {"fiscale", "codice", "cf"},
		ctxFIN:         {"nric", "fin", "singapore"},
		ctxHETU:        {"hetu", "henkilötunnus", "henkilotunnus"},
		ctxCNID:        {"身份证", "identity"},
		ctxNIP:         {"nip"},
		ctxSPI:         {"spi", "fiscal", "fiscale", "impôts", "impots"},
		ctxCURP:        {"curp"},
		ctxVersion: {"version", "versions", "ver", "v", "release", "released", "rev", "revision", "build", "firmware", "driver",
			"section", "sections", "sec", "chapter", "clause", "appendix", "paragraph", "annex", "oid", "table", "figure", "rfc",
			"upgrade", "upgraded", "chrome", "firefox", "safari", "edge", "opera"},
		ctxUpdate: {"upgrade", "upgraded", "upgrades", "upgrading", "update", "updated", "updates", "updating", "bump", "bumps", "bumped",
			"downgrade", "downgraded", "deps", "changelog"},
	} {
		for _, w := range list {
			words[w] |= topic
		}
	}
	return words
}()

// contextFilter holds a bit for every word there is, by its length and its
// first and last bytes: most words of a text need no look-up.
var contextFilter = func() (t [1 << 12]bool) {
	for w := range contextWords {
		t[filterIndex([]byte(w))] = true
	}
	return t
}()

func filterIndex(word []byte) int {
	n := len(word)
	return (int(word[0])*37 + int(word[n-1])*11 + n*256) & (1<<12 - 1)
}

// Bounds of the look for context words.
const (
	contextBefore = 72 // bytes to the left of a candidate
	contextAfter  = 24 // bytes to the right
	maxWord       = 24 // longer words are no context words
)

// mention is a word that speaks of something, and where it ends.
type mention struct {
	end    int
	topics context
}

// vicinity is the memory of the words in front of a candidate. Candidates come
// in order, so each byte is read once however many candidates there are.
type vicinity struct {
	to      int // the text before this offset has been read
	line    int // the last line end read
	recent  [16]mention
	last    int // where the last mention ends
	written int // mentions written, modulo the size where the next one goes
}

// before returns the topics of the words in the 72 bytes in front of text[i].
// Words in front of a placeholder do not count, so that scrubbing a text never
// brings a word closer to what stands behind it; nor do vague ones of an
// earlier line.
func (r *scan) before(i int) context {
	w := &r.words
	low := max(0, i-contextBefore)
	if w.to < low {
		w.to = low
		for w.to < i && w.to > 0 && isLetter(r.text[w.to-1]) && isLetter(r.text[w.to]) {
			w.to++ // the rest of a word that began earlier
		}
	}
	r.work += max(0, i-w.to) + len(w.recent)
	for w.to < i {
		if w.to+8 <= i {
			// Eight bytes without a letter, bracket or line end say nothing.
			x := binary.LittleEndian.Uint64(r.text[w.to:])
			y := x & lows
			letter := (y | ones*0x20) + ones*(0x80-0x5b)
			control := ^(y + ones*(0x80-0x20))
			if (letter|x|control)&highs == 0 {
				w.to += 8
				continue
			}
		}
		c := r.text[w.to]
		if !isLetter(c) {
			w.to++
			switch c {
			case '\n':
				w.line = w.to
			case ']':
				if closesPlaceholder(r.text, w.to) {
					w.recent = [16]mention{}
				}
			}
			continue
		}
		start := w.to
		for w.to < i && isLetter(r.text[w.to]) {
			w.to++
		}
		if w.to-start <= 3 && (isDigit(at(r.text, start-1)) || isDigit(at(r.text, w.to))) {
			continue // part of a hexadecimal number
		}
		topics := topicsOf(r.text[start:w.to])
		if topics == 0 && at(r.text, start-1) == '\\' {
			topics = topicsOf(r.text[min(start+escapeAt(r.text, start), w.to):w.to])
		}
		if topics != 0 {
			w.recent[w.written%len(w.recent)] = mention{w.to, topics}
			w.written++
			w.last = w.to
		}
	}
	if w.last <= low {
		return 0
	}
	var topics context
	for _, m := range &w.recent {
		if m.end > low && m.end <= i {
			if m.end <= w.line {
				m.topics &^= ctxCall
			}
			topics |= m.topics
		}
	}
	return topics
}

// after returns the topics of the words that follow text[i] on its line.
func (r *scan) after(i int) context {
	var topics context
	high := min(len(r.text), i+contextAfter)
	for start := i; start < high; {
		c := r.text[start]
		if c == '\n' || c == '[' || isDigit(c) {
			break
		}
		if !isLetter(c) {
			start++
			continue
		}
		end := start
		for end < len(r.text) && end-start <= maxWord && isLetter(r.text[end]) {
			end++
		}
		topics |= topicsOf(r.text[start:end])
		start = end
	}
	return topics
}

// isLetter takes bytes of non-ASCII runes as letters.
func isLetter(c byte) bool { return class[c]&(clsAlpha|clsHigh) != 0 }

// topicsOf looks a word up without regard to ASCII case; words written
// together in camel case are looked up by their parts as well.
func topicsOf(word []byte) context {
	if len(word) > 2*maxWord && word[len(word)-1] >= 0x80 {
		word = word[len(word)-2*maxWord:] // a sentence without spaces
	}
	if len(word) < 2 || len(word) > 2*maxWord {
		return 0
	}
	var buf [2 * maxWord]byte
	low := buf[:len(word)]
	hump := false
	for i, c := range word {
		low[i] = lower(c)
		hump = hump || i > 0 && isUpper(c) && isLower(word[i-1])
	}
	topics := lookUp(low)
	if topics != 0 || !hump {
		if topics == 0 && word[len(word)-1] >= 0x80 {
			return topicsWithin(low)
		}
		return topics
	}
	from := 0
	for i := 1; i <= len(word); i++ {
		if i == len(word) || isUpper(word[i]) && isLower(word[i-1]) {
			topics |= lookUp(low[from:i])
			from = i
		}
	}
	return topics
}

// spacelessWords are context words of languages that do not put spaces between
// words. They are looked for within what stands between spaces.
var spacelessWords = []struct {
	word   []byte
	topics context
}{
	{[]byte("电话"), ctxPhone}, {[]byte("電話"), ctxPhone}, {[]byte("手机"), ctxPhone}, {[]byte("手機"), ctxPhone}, {[]byte("传真"), ctxPhone},
	{[]byte("携帯"), ctxPhone}, {[]byte("전화"), ctxPhone}, {[]byte("휴대폰"), ctxPhone}, {[]byte("号码"), ctxNumber},
	{[]byte("信用卡"), ctxCard}, {[]byte("银行卡"), ctxCard}, {[]byte("卡号"), ctxCard}, {[]byte("カード"), ctxCard}, {[]byte("카드"), ctxCard},
	{[]byte("身份证"), ctxCNID}, {[]byte("护照"), ctxPassport}, {[]byte("パスポート"), ctxPassport}, {[]byte("여권"), ctxPassport},
	{[]byte("주민등록"), ctxKRRRN}, {[]byte("出生"), ctxBirth}, {[]byte("生年月日"), ctxBirth}, {[]byte("生日"), ctxBirth},
	{[]byte("地址"), ctxIP}, {[]byte("服务器"), ctxIP}, {[]byte("版本"), ctxVersion},
}

// topicsWithin returns the topics of all the words within a sentence without
// spaces.
func topicsWithin(sentence []byte) context {
	var topics context
	for i := range spacelessWords {
		if bytes.Contains(sentence, spacelessWords[i].word) {
			topics |= spacelessWords[i].topics
		}
	}
	return topics
}

// lookUp returns the topics of one word in lower case.
func lookUp(word []byte) context {
	if !contextFilter[filterIndex(word)] {
		return 0
	}
	return contextWords[string(word)]
}

// bare tells whether the text is nothing but numbers and punctuation, and
// short: an answer to "what is your ...?" or a form field. What is ambiguous
// in running text is then taken for what it looks like.
func (r *scan) bare() bool {
	if len(r.text) > 64 || r.part {
		return false
	}
	for _, c := range r.text {
		if isLetter(c) || c == '\n' || c == '[' {
			return false
		}
	}
	return true
}

// around returns the topics of the words around the chain: all that the words
// in front of any of its groups, and behind, can speak of. What needs a word
// that is not there need not look at the groups.
func (r *scan) around(c *chain) context {
	if !c.asked {
		c.topics, c.asked = r.before(c.g[0].start)|r.after(c.g[c.n-1].end), true
	}
	return c.topics
}
