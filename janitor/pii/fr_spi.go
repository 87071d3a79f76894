// SPDX-License-Identifier: Apache-2.0

package pii

// EntityFRSPI labels French tax numbers (SPI).
const EntityFRSPI Entity = "FR_SPI"

var frSPI = builtin{
	name:    "fr_spi",
	entity:  EntityFRSPI,
	doc:     "French tax numbers (SPI): key mod 511 (DGFiP), beside words such as fiscal.",
	words:   topic("spi fiscal fiscale impôts impots"),
	groups:  "13 2_2_3_3_3",
	valid:   validSPI,
	match:   []string{"numéro fiscal «07 01 987 765 493»"},
	noMatch: []string{"fiscal 41 01 987 765 493"},
}

// validSPI checks a French tax number: first digit 0-3, the key is the first ten
// digits mod 511.
func validSPI(n idNumber) bool {
	d := n.bytes()
	return d[0] <= '3' && num(d[:10])%511 == num(d[10:])
}
