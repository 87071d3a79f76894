// SPDX-License-Identifier: Apache-2.0

package pii

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// alphabetBytes lists the bytes of an alphabet without those that the checks
// or neighbours treat apart.
func alphabetBytes(a alphabet) []byte {
	var list []byte
	for c := range 256 {
		if alphabetBits[c]&(1<<a) != 0 && c != '=' && c != '.' && c != '-' && c != '/' && c != '_' && c != '%' && c != ':' && c != '|' && c != '*' && c != '~' {
			list = append(list, byte(c))
		}
	}
	return list
}

// fakeBody makes a random variable part of n bytes that passes the check.
func fakeBody(rnd *rand.Rand, f *format, n int) string {
	letters := alphabetBytes(f.alpha)
	for {
		b := make([]byte, n)
		for i := range b {
			b[i] = letters[rnd.IntN(len(letters))]
		}
		switch f.check {
		case dotted:
			b[n/2] = '.'
		case dashed:
			b[n/2] = '-'
		case uuid:
			for i := range b {
				b[i] = "0123456789abcdef"[rnd.IntN(16)]
			}
			b[8], b[13], b[18], b[23] = '-', '-', '-', '-'
		}
		if f.holds(b) || f.check == uuid && n != 36 { // no other length does
			return string(b)
		}
	}
}

func TestFormats(t *testing.T) {
	if len(formats) < 150 {
		t.Errorf("%d formats, want at least 150", len(formats))
	}
	s := scanner(t, Options{})
	rnd := rand.New(rand.NewPCG(4, 2))
	seen := map[string]bool{}
	for k := range formats {
		f := &formats[k]
		if seen[f.vendor] || len(f.prefix) < 2 || !isAlnum(f.prefix[0]) || f.vendor == "" || f.min < 1 || f.max < f.min {
			t.Errorf("%+v: not a format, or one twice", *f)
		}
		seen[f.vendor] = true
		if len(f.prefix)+f.min < minToken {
			t.Errorf("%+v: shorter than the shortest token looked at", *f)
		}
		for _, n := range []int{f.min, (f.min + f.max) / 2, f.max} {
			secret := f.prefix + fakeBody(rnd, f, n)
			for _, text := range []string{secret, "use " + secret + " now", `x("` + secret + `")`, "a," + secret + "\n", "It is " + secret + "."} {
				spans := s.Scan([]byte(text), nil)
				i := strings.Index(text, secret)
				if !covered(spans, i, i+len(secret), EntitySecret, EntityJWT) {
					t.Errorf("%s: %q in %q: %q", f.vendor, secret, text, found(s, text))
				}
			}
		}
		masked := f.prefix + strings.Repeat("x", f.min)
		if got := found(s, masked); got != nil && f.alpha != abHex {
			t.Errorf("%s: a mask is taken: %q", f.vendor, got)
		}
	}
	t.Logf("%d formats", len(formats))
}

// TestFormatsNeedABoundary puts a letter in front of each prefix.
func TestFormatsNeedABoundary(t *testing.T) {
	s := scanner(t, Options{Recognizers: []string{"secret"}})
	for _, text := range []string{"x" + "gh" + "p_wWPw5k4aXcaT4fNP0UcnZwJUVFk6LO0pINUx", "0" + "AK" + "IAQWERTYUIOP234567", "AK" + "IAQWERTYUIOP2345678"} {
		if got := found(s, text); got != nil {
			t.Errorf("%q: %q", text, got)
		}
	}
}

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

func TestJWT(t *testing.T) {
	token := "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9" + ".eyJsb2dnZWRJbkFzIjoiYWRtaW4ifQ" + ".gzSraSYS8EXBxLN_oWnFSRgCzcmJmMjLiuyu5CSpyHI"
	checkFindings(t, []finding{
		{"Cookie: t=" + token + "; x", []string{"JWT:" + token}},
		{token + ".", []string{"JWT:" + token}},
		{"eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9", nil},
		{"eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJsb2dnZWRJbkFzIjoiYWRtaW4ifQ", nil},
		{"eyJmb28iOiJiYXIiLCJiYXoiOjF9.eyJsb2dnZWRJbkFzIjoiYWRtaW4ifQ.gzSraSYS8EXBxLN_oWnF", nil},
	})
}

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

func TestAssignment(t *testing.T) {
	checkFindings(t, []finding{
		{`password = "hunter2!"`, []string{"SECRET:hunter2!"}},
		{"DB_PASSWORD=s3cr3tpass\nX=1", []string{"SECRET:s3cr3tpass"}},
		{`{"password": "Tr0ub4dor&3", "x": 1}`, []string{"SECRET:Tr0ub4dor&3"}},
		{`AWS_SECRET_ACCESS_KEY = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYzzzzzzzKEY"`, []string{"SECRET:wJalrXUtnFEMI/K7MDENG/bPxRfiCYzzzzzzzKEY"}},
		{"clientSecret: 'a8Fk29dKq01LzPw73bXc'", []string{"SECRET:a8Fk29dKq01LzPw73bXc"}},
		{`"api-key" => "a8Fk29dKq01LzPw73bXc"`, []string{"SECRET:a8Fk29dKq01LzPw73bXc"}},
		{`{\"token\": \"a8Fk29dKq01LzPw73bXc\"}`, []string{"SECRET:a8Fk29dKq01LzPw73bXc"}},
		{"GET /x?access_token=a8Fk29dKq01LzPw73bXc&y=1", []string{"SECRET:a8Fk29dKq01LzPw73bXc"}},
		{"<dbPassword>s3cr3tpass</dbPassword>", []string{"SECRET:s3cr3tpass"}},
		{"Authorization: Bearer mF_9.B5f-4.1JqM", []string{"SECRET:mF_9.B5f-4.1JqM"}},
		{"Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==", []string{"SECRET:QWxhZGRpbjpvcGVuIHNlc2FtZQ=="}},
		{"-H 'X-Api-Key: a8Fk29dKq01LzPw73bXc'", []string{"SECRET:a8Fk29dKq01LzPw73bXc"}},
		{"curl -u elastic:gH7kP2q9 https://x", []string{"SECRET:gH7kP2q9"}},
		{`OPENAI_KEY="1a2b3c4d5e6f7a8b9c0d1e2f3a4b5c6d"`, []string{"SECRET:1a2b3c4d5e6f7a8b9c0d1e2f3a4b5c6d"}},
		{"https://a.blob.example.net/c?sp=r&se=2030-01-01&sig=CVJhd98qk1NZn8DJwoDYyVYP2fbBHznQowOEy0NqEOe%3D",
			[]string{"SECRET:CVJhd98qk1NZn8DJwoDYyVYP2fbBHznQowOEy0NqEOe%3D"}},
		{"GITHUB_PAT=a8Fk29dKq01LzPw73bXc", []string{"SECRET:a8Fk29dKq01LzPw73bXc"}},
		{`password = "$ummer!2024x"; pw = "$DB_PASS1"; pw = "$secrets.pw1"`, []string{"SECRET:$ummer!2024x"}},
		{"registry/:_authToken=743b294a-cd03-11ec-9d64-0242ac120002", []string{"SECRET:743b294a-cd03-11ec-9d64-0242ac120002"}},
		// What is none.
		{`password = "password"; passwd: "changeme"; pwd = "${DB_PASSWORD}"`, nil},
		{"password = getpass.getpass()\npassword: str\nPassword: required", nil},
		{`password := os.Getenv("PW1")` + "\nself.password = password2", nil},
		{"token = tokens[0]; token: Token1; secret=SECRET_KEY_V2", nil},
		{"api_key = config.API_KEY\ntoken = tls13.NewEarlySecret(x)", nil},
		{`public_key = "Gc3Q0RXJM2CUNbgKpUMnkPtOfOzeFzsW"`, nil},
		{"MantleAPI_version=9a038989604e8da62ecddbe2094b16ce1b778be1", nil},
		{"`tokenizationId`: 'f865288c97ca4913887373728b8dfc4c',", nil},
		{`keyword = "Befaehigung_P2" mapKey="R648-MF-DEPARTURE"`, nil},
		{`eos_token = "a8Fk29dKq01LzPw73bXc" next_page_token: "a8Fk29dKq01LzPw73bXc"`, nil},
		{`cache_key = "a8Fk29dKq01LzPw73bXc" primary_key="a8Fk29dKq01LzPw73bXc"`, nil},
		{`model_token = "claude-sonnet-4-5-20250929"`, nil},
		{`password = "<your password>" token="{{ token }}" secret: "************"`, nil},
		{"password=[SECRET_1] token: [REDACTED]", nil},
		{"Authorization: Bearer ${TOKEN}", nil},
		{"the password: it is a word with 2 meanings", nil},
		{"file.pat = x1y2z3w4x1y2z3w4a", nil},
		{`{"auths": {"r.example.org": {"auth": "Ym9iOmhsVlR1QUdMMk5Ga29h"}}}`, []string{"SECRET:Ym9iOmhsVlR1QUdMMk5Ga29h"}},
		{`"auth": "c29tZSB3b3JkcyBvbmx5" auth = "required" "auth": "basic-auth-2024x"`, nil},
		{"app --password=RRZUtlLKGT0l --x", []string{"SECRET:RRZUtlLKGT0l"}},
		{`env: "password: nPQ3kWad9T#1\n"`, []string{"SECRET:nPQ3kWad9T#1"}},
		{"f(password=getUtf8, token=x)", nil},
		{"arn:aws:secretsmanager:us-west-2:123456789012:secret:MyTestDatabaseSecret1-d4e5f6", nil},
		{"private_key: ed25519.Ed25519PrivateKey, f_priv", nil},
		{"Token: `urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6` LockToken: \"e48f26ff-d0f9-4ab8-a878-120db1edf111\"", nil},
		{"sig=v4 and sig = sha256_of_body_0123456789abcdef0123456789abcdef", nil},
	})
}

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

func TestPlaceholder(t *testing.T) {
	for text, want := range map[string]int{
		"[EMAIL_1]": 9, "[EMAIL_7f3a9c] x": 14, "[REDACTED]": 10, "[US_MBI_12]": 11, "[email_1]": 0, "[1]": 0, "[EMAIL": 0, "[]": 0, "[A b]": 0,
		"[EMAILx]": 0, "": 0, "x": 0, "[" + strings.Repeat("A", 80) + "]": 0,
		"[US_MBI_7f3a9c01]": 17, "[A_65536]": 9, "[EMAIL_]": 0, "[EMAIL_1_]": 0, "[EMAIL_1A]": 0, "[EMAIL_a_1]": 0, "[SECRET]": 0,
		"[A_411111111]": 0, "[A_0123456789abcdef]": 0, "[AB1234_1]": 0, "[GB82WEST12345698765432]": 0,
	} {
		if got := placeholder([]byte(text)); got != want {
			t.Errorf("%q: %d, want %d", text, got, want)
		}
	}
}

// TestValuesInBrackets are values in the places where placeholders stand.
func TestValuesInBrackets(t *testing.T) {
	key := "AK" + "IAQWERTYUIOP234567"
	checkFindings(t, []finding{
		{"keys: [" + key + "]", []string{"SECRET:" + key}},
		{"[GB82WEST12345698765432]", []string{"IBAN:GB82WEST12345698765432"}},
		{"[AB123456C] [S2740116C]", []string{"NINO:AB123456C", "SG_FIN:S2740116C"}},
		{"card [A_ 4012888888881881] [4012888888881881]", []string{"CARD:4012888888881881", "CARD:4012888888881881"}},
		{"[EMAIL_1] [CARD_7f3a9c] [REDACTED] [A]", nil},
	})
}

// TestSettleJoinsOverlaps checks the rule on spans directly: nothing of either
// is lost, the longer gives the label, and order does not matter.
func TestSettleJoinsOverlaps(t *testing.T) {
	s := scanner(t, Options{})
	text := []byte("0123456789abcdefghij")
	want := []Span{{0, 8, EntitySecret}, {10, 12, EntityPhone}}
	in := []Span{{0, 6, EntitySecret}, {4, 8, EntityPhone}, {10, 12, EntityPhone}, {0, 6, EntityPhone}}
	rnd := rand.New(rand.NewPCG(8, 8))
	for range 50 {
		rnd.Shuffle(len(in), func(i, j int) { in[i], in[j] = in[j], in[i] })
		if got := s.settle(text, slices.Clone(in), 0); !slices.Equal(got, want) {
			t.Fatalf("%v: got %v", in, got)
		}
	}
}
