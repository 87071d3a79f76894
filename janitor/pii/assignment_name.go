// SPDX-License-Identifier: Apache-2.0

package pii

// nameKind is the kind of secret that a name announces.
type nameKind uint8

const (
	nameOther     nameKind = iota
	namePassword           // chosen by people: short, made of words
	nameSecret             // generated: long and random
	nameHeader             // Authorization: a scheme, then a credential
	nameSignature          // part of a URL that grants access
	nameBasic              // user and password, as in HTTP Basic authentication
	nameKey                // a key of some kind: the parts before decide
)

// nameBefore judges the name before the operator at text[i].
func nameBefore(text []byte, i int) nameKind {
	end := i
	for end > 0 && i-end < maxPadding {
		switch text[end-1] {
		case ' ', '\t', '"', '\'', '`', ']', '\\', '.', '+', '!':
			end--
			continue
		}
		break
	}
	if end == 0 {
		return nameOther
	}
	switch text[end-1] | 0x20 { // the last letters of nameEndings
	case 'd', 't', 'n', 'y', 'e', 's', 'w', 'h', 'l':
	case 'g': // "sig", and not every "msg"
		if byteAt(text, end-2)|0x20 != 'i' {
			return nameOther
		}
	default:
		return nameOther
	}
	start := end
	for start > 0 && end-start < maxName {
		c := text[start-1]
		if !isWord(c) && c != '-' && c != '.' {
			break
		}
		start--
	}
	if text[i] == ':' && end == i && byteAt(text, start-1) == ':' && isDigit(byteAt(text, start-2)) {
		return nameOther // part of a longer name: arn:aws:secretsmanager:eu:123456789012:secret:name
	}
	return kindOf(text[start:end])
}

// Parts that names are made of, in lower case.
var (
	// keyKinds make a name that ends in "key" that of a secret.
	keyKinds = set("api access secret private auth app client encryption signing master account storage shared service license " +
		"session consumer server sdk deploy integration admin merchant webhook personal write subscription preshared " +
		"sharedaccess secretaccess apisecret")
	// vendors do so as well: a plain "key" of theirs is a secret.
	vendors = set("anthropic openai huggingface hf azure google gcp gemini aws github gitlab slack stripe twilio sendgrid telegram " +
		"discord shopify digitalocean databricks vault heroku hubspot cloudflare datadog mailgun mailchimp npm pypi mapbox algolia " +
		"sentry grafana newrelic cohere mistral groq together perplexity deepgram assemblyai elevenlabs pinecone okta auth0 " +
		"linkedin twitter facebook dropbox square paypal plaid zendesk intercom segment snyk netlify vercel supabase airtable " +
		"asana notion linear figma postman fastly linode vultr scaleway jira atlassian bitbucket circleci travis codecov " +
		"coinbase kraken binance ibm softlayer openweather")
	// others mark a name that announces no secret, however it ends.
	others = set("public pub publishable page next continuation pad eos bos unk sep cls mask stop num max min input output " +
		"sync cancellation is show hide field label confirm has forgot reset change count lock idempotency")
)

// kindOf judges a name by its last part and the parts before it. A part ends at
// a byte that is no letter or digit, and at a hump of camel case.
func kindOf(name []byte) nameKind {
	if len(name) < 2 || len(name) > maxName {
		return nameOther
	}
	var buf [maxName]byte
	low := buf[:len(name)]
	for i, c := range name {
		low[i] = lower(c)
	}
	last := lastPart(name)
	kind := endingKind(low[last:])
	if kind == nameOther {
		return nameOther
	}
	key := kind == nameKey
	for from := 0; from < last; {
		end := partEnd(name, from)
		part := low[from:end]
		switch {
		case others[string(part)]:
			return nameOther
		case key && (vendors[string(part)] || keyKinds[string(part)]):
			kind = nameSecret
		}
		from = end
		for from < last && !isAlnum(name[from]) && name[from] < 0x80 {
			from++
		}
	}
	if kind == nameKey {
		return nameOther // any key: cache_key, primary_key
	}
	return kind
}

// nameEnding is an ending of the last part of a name, and the kind of secret it
// announces. A test looks up both examples.
type nameEnding struct {
	end            string
	size           int // of the whole part, 0 for any
	kind           nameKind
	match, noMatch string
}

// nameEndings are in lower case; of several that fit, the first counts.
var nameEndings = []nameEnding{
	{"password", 0, namePassword, "db_password", "password_hint"},
	{"passwd", 0, namePassword, "rootpasswd", "passwd_file"},
	{"pwd", 0, namePassword, "userPwd", "pwd_dir"},
	{"pass", 4, namePassword, "smtp_pass", "compass"},
	{"pw", 2, namePassword, "db_pw", "rpw"},
	{"passphrase", 0, namePassword, "keyPassphrase", "phrase"},
	{"passwort", 0, namePassword, "dbPasswort", "wort"},
	{"kennwort", 0, namePassword, "kennwort", "antwort"},
	{"wachtwoord", 0, namePassword, "wachtwoord", "antwoord"},
	{"secret", 0, nameSecret, "clientSecret", "secretary"},
	{"secretaccess", 0, nameSecret, "secretaccess", "access"},
	{"token", 0, nameSecret, "access_token", "token_type"},
	{"credential", 0, nameSecret, "credential", "essential"},
	{"credentials", 0, nameSecret, "credentials", "essentials"},
	{"key", 0, nameKey, "api_key", "cache_key"},
	{"pat", 3, nameKey, "github_pat", "file_pat"},
	{"ig", 3, nameSignature, "sig", "config"}, // of a shared access signature
	{"auth", 4, nameBasic, "auth", "oauth"},   // of a registry, in Docker's configuration
	{"authorization", 0, nameHeader, "Proxy-Authorization", "organization"},
	{"bearer", 6, nameHeader, "bearer", "forbearer"},
}

// endingsByTail holds the endings by their last two letters.
var endingsByTail = func() (table [1 << 10][]nameEnding) {
	for _, e := range nameEndings {
		k := letterPair(e.end[len(e.end)-2], e.end[len(e.end)-1])
		table[k] = append(table[k], e)
	}
	return table
}()

// endingKind looks up the last part of a name, in lower case.
func endingKind(part []byte) nameKind {
	n := len(part)
	if n < 2 {
		return nameOther
	}
	list := endingsByTail[letterPair(part[n-2], part[n-1])]
	for k := range list {
		e := &list[k]
		if !hasEnd(part, e.end) || e.size > 0 && e.size != n {
			continue
		}
		if e.kind == nameKey && n > len(e.end) {
			return stemKind(part[:n-len(e.end)])
		}
		return e.kind
	}
	return nameOther
}

// stemKind judges the word before "key" when they are written together:
// openaiapikey.
func stemKind(stem []byte) nameKind {
	for from := 0; from < len(stem)-1 && from < 16; from++ {
		if keyKinds[string(stem[from:])] {
			return nameSecret
		}
	}
	if vendors[string(stem)] {
		return nameSecret
	}
	return nameOther
}

// lastPart returns the start of the last part of a name.
func lastPart(name []byte) int {
	i := len(name) - 1
	for i > 0 && !boundaryAt(name, i) {
		i--
	}
	if !isAlnum(name[i]) {
		return i + 1
	}
	return i
}

// partEnd returns the end of the part that begins at name[i].
func partEnd(name []byte, i int) int {
	for i++; i < len(name) && !boundaryAt(name, i); i++ {
	}
	return i
}

// boundaryAt reports whether a part begins at name[i], or a separator stands
// there.
func boundaryAt(name []byte, i int) bool {
	const inPart = clsAlnum | clsHigh
	c, prev := class[name[i]], class[name[i-1]]
	return c&inPart == 0 || prev&inPart == 0 || c&clsUpper != 0 && prev&clsLower != 0
}

// hasEnd compares from the end, without a call: endings are short.
func hasEnd(name []byte, end string) bool {
	i := len(name) - len(end)
	if i < 0 {
		return false
	}
	for k := range len(end) {
		if name[i+k] != end[k] {
			return false
		}
	}
	return true
}
