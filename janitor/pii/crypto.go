// SPDX-License-Identifier: Apache-2.0

package pii

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"math/bits"
)

// EntityCrypto labels cryptocurrency addresses.
const EntityCrypto Entity = "CRYPTO"

var crypto = builtin{
	name:   "crypto",
	entity: EntityCrypto,
	doc:    "Cryptocurrency addresses: Bitcoin and Litecoin with base58check or bech32 checksums (BIP 173, BIP 350), Ethereum with its mixed-case checksum (EIP-55).",
	words:  topic("eth ether ethereum wallet wallets crypto btc bitcoin erc usdt usdc metamask polygon contract"),
	match: []string{
		"send to «1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2» now",
		"«bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq»",
		"«0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed»",
	},
	noMatch: []string{
		"1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN3",
		"sha1 0x5aaeb6053f3e94c9b9a09f33669435e7ef1beaed",
	},
}

// cryptoAt returns the end of a cryptocurrency address that begins at
// text[p], or p: Bitcoin and Litecoin with base58 or bech32 checksums,
// Ethereum with the checksum of its letters' case.
func (r *scan) cryptoAt(p int) int {
	text := r.text
	switch text[p] {
	case '1', '2', '3', 'm', 'n', 'L', 'M':
		if end := r.runEnd(abAlnum, p); end-p >= 26 && end-p <= 35 && byteAt(text, end) != '_' && r.unjudged(p, end) {
			r.work += workHash
			if base58Check(text[p:end]) {
				return end
			}
		}
	case 'b', 't', 'l', 'B', 'T':
		if end := r.runEnd(abAlnum, p); end-p >= 14 && end-p <= 90 && byteAt(text, end) != '_' && r.unjudged(p, end) && bech32(text[p:end]) {
			return end
		}
	case '0':
		if byteAt(text, p+1) == 'x' || byteAt(text, p+1) == 'X' {
			if end := r.runEnd(abAlnum, p+2); end-p == 42 && byteAt(text, end) != '_' && r.unjudged(p, end) && r.ethereum(p, end) {
				return end
			}
		}
	}
	return p
}

// base58Value maps a character to its value in Bitcoin's base58 plus one.
var base58Value = func() (t [256]uint8) {
	const letters = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
	for i := range len(letters) {
		t[letters[i]] = uint8(i + 1)
	}
	return t
}()

// base58Check decodes an address of 25 bytes and checks its version and the
// four bytes of double SHA-256 at its end.
func base58Check(text []byte) bool {
	var limbs [4]uint64 // the number, from its low end
	for len(text) > 0 {
		// Ten characters at a time are less than 2^64.
		part, scale := uint64(0), uint64(1)
		for len(text) > 0 && scale < 1<<58 {
			v := base58Value[text[0]]
			if v == 0 {
				return false
			}
			part, scale, text = part*58+uint64(v-1), scale*58, text[1:]
		}
		for i, limb := range limbs {
			high, low := bits.Mul64(limb, scale)
			low, carry := bits.Add64(low, part, 0)
			limbs[i], part = low, high+carry
		}
		if part != 0 {
			return false
		}
	}
	if limbs[3]>>8 != 0 {
		return false // longer than 25 bytes
	}
	var raw [25]byte
	raw[0] = byte(limbs[3])
	for i := range 3 {
		binary.BigEndian.PutUint64(raw[1+8*i:], limbs[2-i])
	}
	switch raw[0] {
	case 0x00, 0x05, 0x6f, 0xc4, 0x30, 0x32, 0x3a: // Bitcoin main and test, Litecoin
	default:
		return false
	}
	first := sha256.Sum256(raw[:21])
	second := sha256.Sum256(first[:])
	return bytes.Equal(second[:4], raw[21:])
}

// bech32Value maps a character to its value in bech32 plus one.
var bech32Value = func() (t [256]uint8) {
	const letters = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
	for i := range len(letters) {
		t[letters[i]] = uint8(i + 1)
	}
	return t
}()

// bech32 checks a segregated witness address (BIP 173, BIP 350).
func bech32(text []byte) bool {
	sep := bytes.LastIndexByte(text, '1')
	if sep < 2 || sep > 4 || len(text)-sep < 7 {
		return false
	}
	var low, up bool
	check := uint32(1)
	step := func(v uint32) {
		top := check >> 25
		check = check&0x1ffffff<<5 ^ v
		for i, g := range [...]uint32{0x3b6a57b2, 0x26508e6d, 0x1ea119fa, 0x3d4233dd, 0x2a1462b3} {
			if top>>i&1 == 1 {
				check ^= g
			}
		}
	}
	for _, c := range text {
		low = low || isLower(c)
		up = up || isUpper(c)
	}
	if low && up {
		return false
	}
	var buf [4]byte
	prefix := buf[:sep]
	for i, c := range text[:sep] {
		prefix[i] = lower(c)
	}
	switch string(prefix) {
	case "bc", "tb", "bcrt", "ltc", "tltc":
	default:
		return false
	}
	for _, c := range prefix {
		step(uint32(c >> 5))
	}
	step(0)
	for _, c := range prefix {
		step(uint32(c & 31))
	}
	for _, c := range text[sep+1:] {
		v := bech32Value[lower(c)]
		if v == 0 {
			return false
		}
		step(uint32(v - 1))
	}
	return check == 1 || check == 0x2bc830a3
}

// ethereum checks an address of 40 hexadecimal digits. Mixed case must be that
// of EIP-55; an address without a checksum needs a word beside it.
func (r *scan) ethereum(start, end int) bool {
	digits := r.text[start+2 : end]
	var low, up bool
	for _, c := range digits {
		if !isHex(c) {
			return false
		}
		low = low || isLower(c)
		up = up || isUpper(c)
	}
	if !up {
		return r.cryptoContext(start, end)
	}
	var lowered [40]byte
	for i, c := range digits {
		lowered[i] = lower(c)
	}
	r.work += workHash
	sum := keccak256(lowered[:])
	for i, c := range digits {
		if high := sum[i/2]<<(4*(i&1))&0x80 != 0; isAlpha(c) && isUpper(c) != high {
			return !low && r.cryptoContext(start, end)
		}
	}
	return true
}

// cryptoContext reports whether a word beside an address means cryptocurrency,
// or the address is the whole text.
func (r *scan) cryptoContext(start, end int) bool {
	return r.aloneInText(start, end) || (r.topicsBefore(start)|r.topicsAfter(end))&crypto.words != 0
}
