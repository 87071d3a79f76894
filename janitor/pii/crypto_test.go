// SPDX-License-Identifier: Apache-2.0

package pii

import (
	"bytes"
	"crypto/sha256"
	"math/big"
	"math/rand/v2"
	"strings"
	"testing"
)

// checksummed writes an address in the mixed case of EIP-55.
func checksummed(rnd *rand.Rand) string {
	digits := make([]byte, 40)
	for i := range digits {
		digits[i] = "0123456789abcdef"[rnd.IntN(16)]
	}
	var a [25]uint64
	block := make([]byte, 136)
	copy(block, digits)
	block[40], block[135] = 1, 0x80
	for i := range 17 {
		for k := range 8 {
			a[i] |= uint64(block[8*i+k]) << (8 * k)
		}
	}
	slowKeccakF(&a)
	for i, c := range digits {
		nibble := byte(a[i/16]>>(8*(i/2%8))) >> (4 * (1 - i%2)) & 15
		if isAlpha(c) && nibble >= 8 {
			digits[i] = c &^ 0x20
		}
	}
	return "0x" + string(digits)
}

// TestEveryAddressOfMany puts thousands of addresses in one text and finds them
// all.
func TestEveryAddressOfMany(t *testing.T) {
	s := scanner(t, Options{})
	rnd := rand.New(rand.NewPCG(2, 3))
	var b strings.Builder
	const n = 20000
	for k := 0; k < n; {
		address := checksummed(rnd)
		if strings.ContainsAny(address[2:], "abcdef") && strings.ContainsAny(address[2:], "ABCDEF") { // one case has no checksum and needs a word
			b.WriteString(address)
			b.WriteByte(' ')
			k++
		}
	}
	if got := found(s, b.String()); len(got) != n {
		t.Errorf("%d addresses of %d found", len(got), n)
	}
}

// TestBase58LikeBigNumbers compares the decoder with math/big, for addresses
// and their neighbours by one character.
func TestBase58LikeBigNumbers(t *testing.T) {
	const letters = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
	rnd := rand.New(rand.NewPCG(4, 4))
	valid := 0
	for range 3000 {
		raw := make([]byte, 25)
		for i := range 21 {
			raw[i] = byte(rnd.Uint32())
		}
		raw[0] = []byte{0x00, 0x05, 0x6f, 0x30, 0x77, 0xff}[rnd.IntN(6)]
		one := sha256.Sum256(raw[:21])
		two := sha256.Sum256(one[:])
		copy(raw[21:], two[:4])
		if rnd.IntN(4) == 0 {
			raw[rnd.IntN(25)] ^= 1 << rnd.IntN(8)
		}
		var text []byte
		n, radix, rest := new(big.Int).SetBytes(raw), big.NewInt(58), new(big.Int)
		for n.Sign() > 0 {
			n.DivMod(n, radix, rest)
			text = append([]byte{letters[rest.Int64()]}, text...)
		}
		for range rnd.IntN(6) {
			text = append([]byte{'1'}, text...)
		}
		one = sha256.Sum256(raw[:21])
		two = sha256.Sum256(one[:])
		want := bytes.Equal(raw[21:], two[:4]) && raw[0] != 0x77 && raw[0] != 0xff
		switch raw[0] {
		case 0x00, 0x05, 0x6f, 0xc4, 0x30, 0x32, 0x3a:
		default:
			want = false
		}
		if got := base58Check(text); got != want {
			t.Fatalf("%s: %v, want %v", text, got, want)
		}
		if want {
			valid++
		}
	}
	if valid < 500 {
		t.Errorf("only %d valid addresses", valid)
	}
	if base58Check([]byte(strings.Repeat("z", 35))) {
		t.Error("a number longer than 25 bytes is taken")
	}
}

func TestCrypto(t *testing.T) {
	checkFindings(t, []finding{
		{"send to 1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2 now", []string{"CRYPTO:1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2"}},
		{"3J98t1WpEZ73CNmQviecrnyiWrnqRhWNLy", []string{"CRYPTO:3J98t1WpEZ73CNmQviecrnyiWrnqRhWNLy"}},
		{"bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq", []string{"CRYPTO:bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq"}},
		{"bc1p5d7rjq7g6rdk2yhzks9smlaqtedr4dekq08ge8ztwac72sfr9rusxg3297", []string{"CRYPTO:bc1p5d7rjq7g6rdk2yhzks9smlaqtedr4dekq08ge8ztwac72sfr9rusxg3297"}},
		{"0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed", []string{"CRYPTO:0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"}},
		{"wallet 0x5aaeb6053f3e94c9b9a09f33669435e7ef1beaed", []string{"CRYPTO:0x5aaeb6053f3e94c9b9a09f33669435e7ef1beaed"}},
		{"1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN3", nil},
		{"bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdr", nil},
		{"0x5AAeb6053F3E94C9b9A09f33669435E7Ef1BeAed", nil},
		{"send to 0x52908400098527886E0F7030069857D2E4169EE7", []string{"CRYPTO:0x52908400098527886E0F7030069857D2E4169EE7"}},
		{"sha1 0x52908400098527886E0F7030069857D2E4169EE8", nil},
		{"sha1 0x5aaeb6053f3e94c9b9a09f33669435e7ef1beaed", nil},
	})
}
