// SPDX-License-Identifier: Apache-2.0

package pii

import "testing"

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
