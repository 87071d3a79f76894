// SPDX-License-Identifier: Apache-2.0

package pii

import "testing"

// TestProsePassword finds passwords in sentences and after options.
func TestProsePassword(t *testing.T) {
	checkFindings(t, []finding{
		{"my password is hunter2", []string{"SECRET:hunter2"}},
		{"The password is FLO5cGuECk!7.", []string{"SECRET:FLO5cGuECk!7"}},
		{"the password was `Tr0ub4dor&3`, I think", []string{"SECRET:Tr0ub4dor&3"}},
		{"please set the db_password to S3cure-2024x!", []string{"SECRET:S3cure-2024x!"}},
		{"mein Passwort ist Sommer2019", []string{"SECRET:Sommer2019"}},
		{"mijn wachtwoord: Zomer-19!x", []string{"SECRET:Zomer-19!x"}},
		{"machine x.org login bob password d9imEnFHiVmn", []string{"SECRET:d9imEnFHiVmn"}},
		{"psql --password 2nTcpIuimCoN", []string{"SECRET:2nTcpIuimCoN"}},
		{"psql --password R0DqgigDGQqG -h db", []string{"SECRET:R0DqgigDGQqG"}},
		{"我的密码是abc123xyz，谢谢", []string{"SECRET:abc123xyz"}},
		{"my pw: Hunter2!x, and password: Hunter3!x thanks", []string{"SECRET:Hunter2!x", "SECRET:Hunter3!x"}},
		// Nothing is found in these.
		{"the password is sha256 hashed, the password is base64-encoded and the password is SHA512", nil},
		{"the password is 8-16 characters, a password is 12-digit, the password is 90days old", nil},
		{"the password was 2024-01-02, the password to step2.txt, password field2 and password auth_v2", nil},
		{"this is hunter2, his compass is hunter2x1, bypass is ab12cd34", nil},
		{"password is [SECRET_1] and the password is $DB_PASS1", nil},
		{"the token is sha256 and secret is utf8", nil},
		{"password: Cfg2!.x, pw: Str2, password: a*B2c.d pwd: Foo2 == Bar", nil},
		{"Hash the data to get the value to pass to quote2.", nil},
		{"have to pass --enable-gui=gtk3 or pass AI_V4MAPPED, chgpassword n3detach", nil},
		{"user_password *get1_by_user(x); password get1user(x); FunctionPass *createX86Pass();", nil},
	})
}
