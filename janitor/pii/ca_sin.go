// SPDX-License-Identifier: Apache-2.0

package pii

// validSIN: Canadian social insurance number: Luhn, first digit not 0 or 8.
func validSIN(d []byte) bool { return d[0] != '0' && d[0] != '8' && luhn(d) }
