// SPDX-License-Identifier: Apache-2.0

package pii

import (
	"fmt"
	"strings"
	"testing"
)

// TestNestedAssignments holds the bound of judging: a stretch full of names is
// taken, one with a few is judged.
func TestNestedAssignments(t *testing.T) {
	s := scanner(t, Options{})
	for _, c := range []struct {
		text  string
		taken bool
	}{
		{strings.Repeat("token:", 100), true},
		{strings.Repeat("authorization:", 100), true},
		{"Token::Secret::Token::Secret::Password", false},
		{"token:secret:password:key", false},
	} {
		got := found(s, c.text)
		if (len(got) == 1 && strings.HasSuffix(c.text, got[0][len("SECRET:"):])) != c.taken || !c.taken && len(got) > 0 {
			t.Errorf("%.60q: %.100q", c.text, fmt.Sprint(got))
		}
	}
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
		// Nothing is found in these.
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
