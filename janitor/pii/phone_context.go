// SPDX-License-Identifier: Apache-2.0

package pii

// phoneByContext takes other forms, beside a word for phones or as the whole
// text.
func (r *scan) phoneByContext(c *chain, i int) int {
	if r.topicsAround(c)&(phone.words|callWords) == 0 && !r.numbersOnly() {
		return 0
	}
	start := c.g[i].start
	if !freeBefore(c.text, start) || r.topicsBefore(start)&(phone.words|callWords) == 0 && !followedByWord(c) && !r.numbersOnly() {
		return 0
	}
	k := c.dialledGroups(i)
	if k == 0 || c.isDate(i, k) || c.otherFigures(i, k) {
		return 0
	}
	topics := r.phoneContext(c, i, k)
	alone := i == 0 && k == c.n && r.numbersOnly() && !isTimestamp(c.digitsOf(i))
	switch {
	case topics&phone.words != 0, topics != 0 && k > 1:
		return k
	case (topics != 0 || alone) && plausiblePhone(c, i, k):
		return k
	}
	return 0
}

// otherFigures reports whether k groups from i on are figures that stand beside
// words for phones and are not dialled.
func (c *chain) otherFigures(i, k int) bool {
	return c.unixTime(i, k) || c.dottedRow(i, k) || c.padded(i, k) || c.dateAndTime(i, k) || c.amount(i, k) ||
		c.accountInName(i, k) || c.fraction(i, k) || c.postalCode(i, k) || c.volumeAndYear(i, k) || c.yearInParentheses(i, k)
}

// unixTime reports whether the groups are seconds or milliseconds since 1970:
// 1700000000.
func (c *chain) unixTime(i, k int) bool {
	return isTimestamp(c.digitsOf(i)) && (k == 1 || i+1 == c.n || c.gap(i+1) == '.')
}

// dottedRow reports whether the groups are four groups with dots between, an
// address or a version.
func (c *chain) dottedRow(i, _ int) bool {
	return c.gap(i+1) == '.' && c.gap(i+2) == '.' && c.gap(i+3) == '.'
}

// padded reports whether the groups are padded with zeros: 000410.
func (c *chain) padded(i, _ int) bool {
	first := c.digitsOf(i)
	return len(first) > 2 && first[0] == '0' && first[1] == '0'
}

// dateAndTime reports whether the groups are a date with another number after
// it: 2012-01-02 08.
func (c *chain) dateAndTime(i, _ int) bool {
	return c.dateFigures(i) > 0 && c.gap(i+3) != c.gap(i+1)
}

// amount reports whether the groups are a round number: 256000000.
func (c *chain) amount(i, k int) bool { return k == 1 && isRound(c.digitsOf(i), 6) }

// accountInName reports whether the digits stand between colons, as part of a
// longer name: arn:aws:iam::123456789012:role.
func (c *chain) accountInName(i, k int) bool {
	return k == 1 && byteAt(c.text, c.g[i].start-1) == ':' && byteAt(c.text, c.g[i].end) == ':'
}

// fraction reports whether the groups are a decimal number: 0.000410.
func (c *chain) fraction(i, k int) bool {
	return k == 2 && c.gap(i+1) == '.' && c.g[i].len() != 3
}

// postalCode reports whether the groups are a ZIP+4 code: 10021-3100.
func (c *chain) postalCode(i, k int) bool {
	return k == 2 && c.gap(i+1) == '-' && c.g[i].len() == 5 && c.g[i+1].len() == 4 && c.text[c.g[i].start] != '9'
}

// volumeAndYear reports whether the groups are the volume and the year of a
// journal: 31 (1982).
func (c *chain) volumeAndYear(i, _ int) bool {
	if i+1 == c.n || c.text[c.g[i].end] != ' ' {
		return false
	}
	next := c.g[i+1]
	return next.len() == 4 && likeYear(c.text[next.start:]) && c.text[next.start-1] == '('
}

// yearInParentheses reports whether the groups are a year before a closing
// parenthesis: 1982).
func (c *chain) yearInParentheses(i, _ int) bool {
	return c.g[i].len() == 4 && likeYear(c.digitsOf(i)) && byteAt(c.text, c.g[i].end) == ')'
}

// followedByWord reports whether letters follow the chain. Only those and the
// words before a number can be its context.
func followedByWord(c *chain) bool {
	end := c.g[c.n-1].end
	for k := range contextAfter {
		switch b := byteAt(c.text, end+k); {
		case isLetter(b):
			return true
		case b == '\n', b == '[', b == 0, isDigit(b):
			return false
		}
	}
	return false
}

// dialledGroups returns the number of groups from i on that could be one phone
// number: seven to thirteen digits, or three pairs.
func (c *chain) dialledGroups(i int) int {
	total, best := 0, 0
	for k := 0; i+k < c.n && k < 7; k++ {
		if k > 0 && (c.g[i+k].start-c.g[i+k-1].end > 2 || c.gap(i+k) == '/') {
			break
		}
		total += c.g[i+k].len()
		if total > 13 || k > 0 && c.gap(i+k) == '.' && c.gap(i+1) != '.' || k > 1 && c.gap(i+1) == '.' && c.gap(i+k) != '.' {
			break
		}
		if (total >= 7 || total == 6 && k == 2 && c.gap(i+1) == ' ' && c.gap(i+2) == ' ' && c.g[i].len() == 2) && c.endsPhone(i+k) {
			best = k + 1
		}
	}
	return best
}

// plausiblePhone reports whether k groups from i on, which are a whole text,
// can be a phone number.
func plausiblePhone(c *chain, i, k int) bool {
	var buf [maxPhone]byte
	d := buf[:c.digits(i, i+k-1, buf[:])]
	for j := 1; j < k; j++ {
		if c.gap(i+j) == '.' {
			return false
		}
	}
	if _, ok := c.lens(i, 3, 2, 4); ok {
		return false // the form of a social security number
	}
	switch {
	case len(d) < 9:
		return k > 1 && len(d) >= 7
	case d[0] == '0':
		return len(d) <= 13
	case len(d) == 10:
		return validArea(d) && d[3] >= '2'
	case len(d) >= 11 && len(d) <= 13:
		code, l := splitCode(d)
		return code > 0 && len(d)-code >= int(l.min) && len(d)-code <= int(l.max)
	}
	return false
}

// phoneContext returns the topics of phones that have a word beside the k
// groups from i on.
func (r *scan) phoneContext(c *chain, i, k int) context {
	return r.topicsBeside(c, i, i+k-1, phone.words|callWords)
}
