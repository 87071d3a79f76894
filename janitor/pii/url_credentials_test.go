// SPDX-License-Identifier: Apache-2.0

package pii

import "testing"

func TestURLCredentials(t *testing.T) {
	checkFindings(t, []finding{
		{"https://bob:s3cret@example.com/x", []string{"SECRET:s3cret"}},
		{"postgres://app:p@ss@db.example.com:5432/x", []string{"SECRET:p@ss"}},
		{"redis://:s3cret@cache:6379", []string{"SECRET:s3cret"}},
		{"amqp://user:pw%40x@[2001:db8::1]/", []string{"SECRET:pw%40x"}},
		{"https://bob@example.com/", nil},
		{"https://bob:${PASSWORD}@example.com/", nil},
		{"https://bob:<password>@example.com/", nil},
		{"https://bob:****@example.com/", nil},
		{"https://your_user:your_password@example.com/", nil},
		{"https://example.com/@user:x", nil},
		{"http://example.com:8080/a@b", nil},
	})
}
