// SPDX-License-Identifier: Apache-2.0

package pii

// nameKind is what a name says of its value.
type nameKind uint8

const (
	nameOther     nameKind = iota
	namePassword           // chosen by people: short, of words
	nameSecret             // made by machines: long and random
	nameHeader             // Authorization: a scheme, then a credential
	nameSignature          // of a URL that grants access by itself
	nameBasic              // user and password as in the Basic scheme of HTTP
)

// nameBefore judges the name in front of the operator at text[i].
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
	switch text[end-1] | 0x20 { // the last letters of what kindOf knows
	case 'd', 't', 'n', 'y', 'e', 's', 'w', 'h', 'l':
	case 'g': // "sig", and not every "msg"
		if at(text, end-2)|0x20 != 'i' {
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
	if text[i] == ':' && end == i && at(text, start-1) == ':' && isDigit(at(text, start-2)) {
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
	// vendors do so as well: their plain "key" is a secret.
	vendors = set("anthropic openai huggingface hf azure google gcp gemini aws github gitlab slack stripe twilio sendgrid telegram " +
		"discord shopify digitalocean databricks vault heroku hubspot cloudflare datadog mailgun mailchimp npm pypi mapbox algolia " +
		"sentry grafana newrelic cohere mistral groq together perplexity deepgram assemblyai elevenlabs pinecone okta auth0 " +
		"linkedin twitter facebook dropbox square paypal plaid zendesk intercom segment snyk netlify vercel supabase airtable " +
		"asana notion linear figma postman fastly linode vultr scaleway jira atlassian bitbucket circleci travis codecov " +
		"coinbase kraken binance ibm softlayer openweather")
	// others make a name one of something else, whatever its end.
	others = set("public pub publishable page next continuation pad eos bos unk sep cls mask stop num max min input output " +
		"sync cancellation is show hide field label confirm has forgot reset change count lock idempotency")
)

// kindOf judges a name by its last part, and by what the parts in front of it
// say of it. Parts are divided by anything but letters and digits and by the
// humps of camel case.
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
	kind, key := ending(low[last:])
	if kind == nameOther && !key {
		return nameOther
	}
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
	return kind
}

// ending judges the last part of a name; key tells that it is "key" and the
// parts in front decide.
func ending(part []byte) (kind nameKind, key bool) {
	n := len(part)
	if n < 2 {
		return nameOther, false
	}
	switch string(part[n-2:]) {
	case "rd", "wd", "se", "rt", "ss", "pw":
		switch {
		case hasEnd(part, "kennwort"), hasEnd(part, "wachtwoord"):
			return namePassword, false
		case hasEnd(part, "password"), hasEnd(part, "passwd"), hasEnd(part, "passphrase"), hasEnd(part, "passwort"), hasEnd(part, "pwd"),
			n == 4 && hasEnd(part, "pass"), n == 2 && hasEnd(part, "pw"):
			return namePassword, false
		case hasEnd(part, "secretaccess"):
			return nameSecret, false
		}
	case "et", "en", "al", "ls":
		if hasEnd(part, "secret") || hasEnd(part, "token") || hasEnd(part, "credential") || hasEnd(part, "credentials") {
			return nameSecret, false
		}
	case "ey":
		if !hasEnd(part, "key") {
			break
		}
		stem := part[:n-3]
		if len(stem) == 0 {
			return nameOther, true
		}
		for from := 0; from < len(stem)-1 && from < 16; from++ { // openaiapikey
			if keyKinds[string(stem[from:])] {
				return nameSecret, false
			}
		}
		if vendors[string(stem)] {
			return nameSecret, false
		}
	case "ig": // of a shared access signature
		if n == 3 {
			return nameSignature, false
		}
	case "th":
		if n == 4 && string(part) == "auth" { // of a registry, in Docker's configuration
			return nameBasic, false
		}
	case "at":
		return nameOther, n == 3 && string(part) == "pat" // personal access token
	case "on", "er":
		if hasEnd(part, "authorization") || n == 6 && hasEnd(part, "bearer") {
			return nameHeader, false
		}
	}
	return nameOther, false
}

// lastPart returns where the last part of a name begins.
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

// partEnd returns where the part that begins at name[i] ends.
func partEnd(name []byte, i int) int {
	for i++; i < len(name) && !boundaryAt(name, i); i++ {
	}
	return i
}

// boundaryAt tells whether a part begins at name[i], or a separator stands
// there.
func boundaryAt(name []byte, i int) bool {
	c := name[i]
	if !isAlnum(c) && c < 0x80 {
		return true
	}
	prev := name[i-1]
	return !isAlnum(prev) && prev < 0x80 || isUpper(c) && isLower(prev)
}

func hasEnd(name []byte, end string) bool {
	return len(name) >= len(end) && string(name[len(name)-len(end):]) == end
}
