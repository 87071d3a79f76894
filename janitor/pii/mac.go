// SPDX-License-Identifier: Apache-2.0

package pii

// EntityMAC labels hardware addresses.
const EntityMAC Entity = "MAC"

var mac = builtin{
	name:   "mac",
	entity: EntityMAC,
	doc:    "MAC-48 and EUI-64 hardware addresses in pairs or in groups of four (IEEE 802), except the broadcast and the zero address.",
	words:  topic("mac macs hardware ethernet wifi bluetooth bssid"),
	match: []string{
		"ether «00:1a:2b:3c:4d:5e» txqueuelen",
		"«0012.3456.789a»",
	},
	noMatch: []string{
		"ff:ff:ff:ff:ff:ff 00:00:00:00:00:00",
		"2024-01-02-03-04-05",
	},
}

// macPairs takes pairs of hexadecimal digits joined by one separator at
// text[start:end]: six of them (MAC-48) or eight (EUI-64), IEEE 802. The
// broadcast and the zero address belong to no device.
func (r *scan) macPairs(start, end int) bool {
	text := r.text[start:end]
	if len(text) != 17 && len(text) != 23 {
		return false
	}
	sep := text[2]
	zero, ones := true, true
	for i, c := range text {
		if i%3 == 2 {
			if c != sep {
				return false
			}
			continue
		}
		if !isHex(c) {
			return false
		}
		zero = zero && c == '0'
		ones = ones && c|0x20 == 'f'
	}
	if zero || ones || r.digitsOnly(text) && sep == '-' {
		return false
	}
	r.add(start, end, EntityMAC)
	return true
}

// digitsOnly reports whether text holds no letters. Six such pairs joined by
// hyphens are dates and numbers more often than addresses.
func (r *scan) digitsOnly(text []byte) bool {
	for _, c := range text {
		if isAlpha(c) {
			return false
		}
	}
	return true
}

// dottedMACLen is the length of three groups of four with dots between.
const dottedMACLen = 14

// macDotted takes three groups of four hexadecimal digits joined by dots, as
// network equipment prints them, at text[start:].
func (r *scan) macDotted(start int) bool {
	text := r.text
	end := start + dottedMACLen
	if byteAt(text, start+4) != '.' || byteAt(text, start+9) != '.' || inWord(text, start) || byteAt(text, start-1) == '.' ||
		joinedAfter(text, end) || byteAt(text, end) == '.' && isHex(byteAt(text, end+1)) {
		return false
	}
	switch byteAt(text, start-1) {
	case '[', '*', '-', '/', '+':
		return false
	}
	letters := false
	for i := range dottedMACLen {
		if i == 4 || i == 9 {
			continue
		}
		c := byteAt(text, start+i)
		if !isHex(c) {
			return false
		}
		letters = letters || isAlpha(c)
	}
	if !letters && r.topicsBefore(start)&mac.words == 0 {
		return false
	}
	r.add(start, end, EntityMAC)
	return true
}
