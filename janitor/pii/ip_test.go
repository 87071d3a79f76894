// SPDX-License-Identifier: Apache-2.0

package pii

import (
	"slices"
	"testing"
)

func TestIP(t *testing.T) {
	checkFindings(t, []finding{
		{"from 81.2.69.142 port 22", []string{"IP:81.2.69.142"}},
		{"http://81.2.69.142:8080/ [2001:4860:4860::8888]:53", []string{"IP:81.2.69.142", "IP:2001:4860:4860::8888"}},
		{"81.2.69.142/24, ip=81.2.69.143.", []string{"IP:81.2.69.142", "IP:81.2.69.143"}},
		{"8.8.8.8 and 1.1.1.1", []string{"IP:8.8.8.8", "IP:1.1.1.1"}},
		{"host 5.6.7.8", []string{"IP:5.6.7.8"}},
		{"::ffff:81.2.69.142", []string{"IP:::ffff:81.2.69.142"}},
		{"4f8a:c99e:dc86:faf9:5988:5f63:375e:8a2a", []string{"IP:4f8a:c99e:dc86:faf9:5988:5f63:375e:8a2a"}},
		{"upgrade the server 5.34.120.9, from 20.11.4.3 port 22, 34.8.50.120 x", []string{"IP:5.34.120.9", "IP:20.11.4.3", "IP:34.8.50.120"}},
		{"5.34.120.99 - - [10/Oct/2025] 34.8.5.120, 2.5.29.14:443, 20.11.4.3", []string{"IP:5.34.120.99", "IP:34.8.5.120", "IP:2.5.29.14"}},
		// Nothing is found in these.
		{"deps: update V8 to 5.9.211.32, Cabal-2.2.10.110, from linux-2.6.35.4/arch", nil},
		{`ObjectIdentifier("2.5.29.14") OID_EDDSA = '1.3.101.112'`, nil},
		{"// 20.11.4.3 specialization, opencv_python\t4.14.0.94, 0111 18c0 1.52 2.12 3.51.98.32 2.03.5 3.11", nil},
		{"10.0.0.1 172.16.3.4 192.168.1.1 127.0.0.1 169.254.1.1 100.64.0.1", nil},
		{"192.0.2.1 198.51.100.7 203.0.113.9 0.0.0.0 255.255.255.255 224.0.0.1", nil},
		{"::1 fe80::1 2001:db8::1 fd00::1 ff02::1 :: ::ffff:10.0.0.1", nil},
		{"v81.2.69.142 version 81.2.69.142 ==81.2.69.142 Chrome/81.2.69.142 >=81.2.69.142", nil},
		{"section 5.2.1.3, RFC 5280, 4.2.1.10, OID 1.3.6.1.4.1, 2.5.4.10", nil},
		{"256.1.1.1 1.2.3 81.02.69.142 81.2.69.142.5 libx.so.81.2.69.142", nil},
		{"std::vector a::b 12:34:56 1:2 ab::cd dead:beef", nil},
		{"1:2:3:4:5:6:7 1::2::3 12345::1", nil},
	})
	private := scanner(t, Options{Recognizers: []string{"ip_private"}})
	if got := found(private, "10.1.2.3 81.2.69.142 fe80::1"); !slices.Equal(got, []string{"IP:10.1.2.3", "IP:fe80::1"}) {
		t.Errorf("private only: %q", got)
	}
}
