// SPDX-License-Identifier: Apache-2.0

package pii

import "testing"

func TestEmail(t *testing.T) {
	checkFindings(t, []finding{
		{"bob@example.com", []string{"EMAIL:bob@example.com"}},
		{"<bob.smith+tag@mail.example.co.uk>,", []string{"EMAIL:bob.smith+tag@mail.example.co.uk"}},
		{"mailto:bob@example.com?subject=x", []string{"EMAIL:bob@example.com"}},
		{"email=bob%40example.com&x=1", []string{"EMAIL:bob%40example.com"}},
		{"id=%20bob@example.com", []string{"EMAIL:bob@example.com"}},
		{"write to o'brien@example.org. Thanks", []string{"EMAIL:o'brien@example.org"}},
		{"'bob@example.com'", []string{"EMAIL:bob@example.com"}},
		{"bob@example.com.Nice day", []string{"EMAIL:bob@example.com"}},
		{"jörg@müller.de und 用户@例子.公司", []string{"EMAIL:jörg@müller.de", "EMAIL:用户@例子.公司"}},
		{"邮箱bob@example.com谢谢", []string{"EMAIL:bob@example.com"}},
		{"user@xn--80ak6aa92e.com", []string{"EMAIL:user@xn--80ak6aa92e.com"}},
		{`"john doe"@example.com`, []string{`EMAIL:"john doe"@example.com`}},
		{`addr = name + "@example.com"`, nil},
		{`addr = "bob" + suffix + "@example.com"`, nil},
		{`"john.doe"@example.com`, []string{`EMAIL:"john.doe"@example.com`}},
		{"a@b.co,c@d.io;e@f.dev", []string{"EMAIL:a@b.co", "EMAIL:c@d.io", "EMAIL:e@f.dev"}},
		{"first..last@example.com", []string{"EMAIL:last@example.com"}},
		// Nothing is found in these.
		{"git@github.com:org/repo.git", nil},
		{"scp x deploy@web.example.com:/srv/www", nil},
		{"ssh://git@github.com/org/repo", nil},
		{"@dataclass @app.get('/x') @mention", nil},
		{"python@3.9 node@18 actions/checkout@v4 lodash@4.17.21", nil},
		{"user@host a@b x@y.notatld root@localhost", nil},
		{"y = X@W.T + a@self.weight", nil},
		{"foo.@example.com", nil},
		{"foo@-example.com foo@example-.com foo@.com foo@example..com", nil},
		{"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa@example.com", nil},
	})
}
