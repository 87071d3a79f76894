// SPDX-License-Identifier: Apache-2.0

package pii

// EntityCard labels payment card numbers.
const EntityCard Entity = "CARD"

var card = builtin{
	name:   "card",
	entity: EntityCard,
	rank:   -2,
	doc:    "Payment card numbers: brand ranges and lengths, Luhn check digit (ISO/IEC 7812-1), together or in the groups printed on cards.",
	words: topic("card cards credit debit visa mastercard amex maestro discover diners jcb cc pan cardnumber creditcard kreditkarte karte "+
		"carte tarjeta carta cartão kaart karta", "信用卡 银行卡 卡号 カード 카드"),
	match: []string{
		"visa «4012888888881881», done",
		"«4012 8888 8888 1881» exp 12/27 cvv 123",
		"amex «3782 822463 10005»",
		"credit card «30569309025904»",
	},
	noMatch: []string{
		"4012888888881882",
		"order 30569309025904 shipped",
		"row 4111 2222 3333 4444 4111 1111 1111 1111 4111 1111",
	},
}

// maxCard is the longest card number (ISO/IEC 7812-1).
const maxCard = 19

// brand is a range of issuer numbers with the lengths its cards have.
type brand struct {
	low, high uint16 // first four digits, inclusive
	min, max  uint8  // length in digits
}

// brands are the issuer ranges in use, by their first four digits: the public
// identification number tables of the schemes.
var brands = []brand{
	{1000, 1999, 15, 15}, // UATP
	{2200, 2204, 16, 19}, // Mir
	{2221, 2720, 16, 16}, // Mastercard, 2-series
	{3000, 3059, 14, 19}, // Diners Club
	{3095, 3095, 14, 19}, // Diners Club
	{3400, 3499, 15, 15}, // American Express
	{3528, 3589, 16, 19}, // JCB
	{3600, 3699, 14, 19}, // Diners Club
	{3700, 3799, 15, 15}, // American Express
	{3800, 3999, 14, 19}, // Diners Club
	{4000, 4999, 13, 19}, // Visa
	{5018, 5020, 12, 19}, // Maestro, Dankort
	{5038, 5038, 12, 19}, // Maestro
	{5060, 5090, 16, 19}, // Verve, Elo, RuPay
	{5100, 5599, 16, 16}, // Mastercard
	{5600, 5899, 12, 19}, // Maestro
	{6011, 6011, 16, 19}, // Discover
	{6038, 6099, 16, 19}, // RuPay, Hipercard, Maestro
	{6200, 6299, 16, 19}, // UnionPay
	{6304, 6304, 12, 19}, // Maestro
	{6360, 6399, 16, 19}, // InterPayment, InstaPayment, Elo
	{6440, 6599, 16, 19}, // Discover, RuPay
	{6700, 6799, 12, 19}, // Maestro
	{8100, 8199, 16, 19}, // UnionPay, RuPay
	{8600, 8600, 16, 16}, // Uzcard
	{9792, 9792, 16, 16}, // Troy
	{9860, 9860, 16, 16}, // Humo
}

// validCard reports whether the digits are a card number of a known brand.
func validCard(d []byte) bool {
	if len(d) < 12 || len(d) > maxCard {
		return false
	}
	iin := uint16(d[0]-'0')*1000 + uint16(d[1]-'0')*100 + uint16(d[2]-'0')*10 + uint16(d[3]-'0')
	for _, b := range brands {
		if iin < b.low {
			return false
		}
		if iin <= b.high && len(d) >= int(b.min) && len(d) <= int(b.max) {
			return luhn(d)
		}
	}
	return false
}

// card looks for a card number that begins with group i of the chain and
// returns the number of its groups.
func (r *scan) card(c *chain, i int) int {
	if c.g[i].len() >= 12 {
		return r.wholeCard(c, i)
	}
	if c.g[i].len() < 2 || i+1 == c.n {
		return 0
	}
	said := r.topicsAround(c)&card.words != 0 && r.topicsBefore(c.g[i].start)&card.words != 0
	if c.g[i].len() == 4 {
		if k := r.printedCard(c, i, said); k > 0 {
			return k
		}
	}
	if !said {
		return 0
	}
	return r.looseCard(c, i)
}

// wholeCard takes a card number without separators.
func (r *scan) wholeCard(c *chain, i int) int {
	number := c.digitsOf(i)
	if !c.ends(i) || !validCard(number) {
		return 0
	}
	if n := len(number); n == 18 && r.finds(&cnID) && validCNID(newIDNumber(number)) || n == 15 && r.finds(&frNIR) && validNIR(newIDNumber(number)) {
		return 0 // an identity number, which has the stronger check
	}
	if !usualCard(c.text, c.g[i]) && !r.cardContext(c, i, i) {
		return 0
	}
	r.add(c.g[i].start, c.g[i].end, EntityCard)
	return 1
}

// usualCard reports whether digits are a card number without a word beside
// them. Lengths that counters and identifiers have, parts of paths and round
// numbers need a word.
func usualCard(text []byte, g group) bool {
	number := text[g.start:g.end]
	return (len(number) == 16 || len(number) == 15 && amex(number)) && byteAt(text, g.start-1) != '/' && !isRound(number, 9)
}

// printedCard takes a card number in groups as printed: 4-4-4-4-3, 4-4-4-4 or
// 4-6-5. Without a word for card before it, no further groups may stand beside
// it.
func (r *scan) printedCard(c *chain, i int, said bool) int {
	var buf [maxCard]byte
	for _, k := range [...]int{5, 4, 3} {
		if i+k > c.n || !c.printed(i, k) || !c.ends(i+k-1) {
			continue
		}
		if !said && !c.outsideTable(i, k) && !r.cardContext(c, i, i+k-1) {
			continue
		}
		if n := c.digits(i, i+k-1, buf[:]); validCard(buf[:n]) {
			r.add(c.g[i].start, c.g[i+k-1].end, EntityCard)
			return k
		}
	}
	return 0
}

// isRound reports whether digits end in so many zeros, as amounts do: a month
// in nanoseconds.
func isRound(d []byte, zeros int) bool {
	for _, c := range d[max(0, len(d)-zeros):] {
		if c != '0' {
			return false
		}
	}
	return true
}

// amex reports whether digits begin like American Express, the one brand of 15
// digits.
func amex(d []byte) bool { return d[0] == '3' && (d[1] == '4' || d[1] == '7') }

// printed reports whether k groups from i on, the first of four digits, are
// grouped as on a card, with one kind of separator.
func (c *chain) printed(i, k int) bool {
	if !c.cardLens(i, k) {
		return false
	}
	sep := c.gap(i + 1)
	if sep != ' ' && sep != '-' && sep != '.' {
		return false
	}
	for j := 2; j < k; j++ {
		if c.gap(i+j) != sep {
			return false
		}
	}
	return true
}

// cardLens reports whether k groups from i on, the first of four digits, have
// the lengths of those on a card.
func (c *chain) cardLens(i, k int) bool {
	g := c.g[i : i+k]
	if last := g[k-1].len(); k == 3 {
		return g[1].len() == 6 && (last == 5 || last == 4)
	} else if k == 5 && last > 3 {
		return false
	}
	return g[1].len() == 4 && g[2].len() == 4 && g[3].len() == 4
}

// looseCard takes any grouping; the caller has seen a word for card.
func (r *scan) looseCard(c *chain, i int) int {
	var buf [maxCard]byte
	n := 0
	for j := i; j < c.n && j < i+10; j++ {
		if j > i && c.gap(j) != ' ' && c.gap(j) != '-' {
			return 0
		}
		more := c.digits(j, j, buf[n:])
		if more == 0 {
			return 0
		}
		n += more
		if n >= 13 && c.ends(j) && validCard(buf[:n]) {
			r.add(c.g[i].start, c.g[j].end, EntityCard)
			return j - i + 1
		}
	}
	return 0
}

// cardContext reports whether a word beside groups i to j means card, or the
// text is numbers alone.
func (r *scan) cardContext(c *chain, i, j int) bool {
	return r.numbersOnly() || r.topicsBeside(c, i, j, card.words) != 0
}
