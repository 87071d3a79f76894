// SPDX-License-Identifier: Apache-2.0

package pii

// spoken takes other forms, beside a word that speaks of phones; or as a text
// of nothing else.
func (r *scan) spoken(c *chain, i int) int {
	if r.around(c)&(phone.words|callWords) == 0 && !r.bare() {
		return 0
	}
	first := c.text[c.g[i].start:c.g[i].end]
	next := c.gap(i + 1)
	if timestamp(first) && (i+1 == c.n || next == '.') || next == '.' && c.gap(i+2) == '.' && c.gap(i+3) == '.' ||
		first[0] == '0' && len(first) > 2 && first[1] == '0' || c.dateFigures(i) > 0 && c.gap(i+3) != next {
		return 0
	}
	if !freeBefore(c.text, c.g[i].start) || r.before(c.g[i].start)&(phone.words|callWords) == 0 && !followedByWord(c) && !r.bare() {
		return 0
	}
	best := c.dialled(i)
	if best == 0 || c.date(i, best) || best == 1 && (timestamp(first) || round(first, 6) || at(c.text, c.g[i].start-1) == ':' && at(c.text, c.g[i].end) == ':') {
		return 0
	}
	if best == 2 && (next == '.' && len(first) != 3 || next == '-' && len(first) == 5 && c.g[i+1].len() == 4 && first[0] != '9') {
		return 0 // a fraction, a postal code
	}
	if i+1 < c.n && c.text[c.g[i].end] == ' ' && c.g[i+1].len() == 4 && year(c.text[c.g[i+1].start:]) && c.text[c.g[i+1].start-1] == '(' {
		return 0 // volume (year) pages
	}
	if len(first) == 4 && year(first) && at(c.text, c.g[i].end) == ')' {
		return 0
	}
	switch topics := r.phoneContext(c, i, best); {
	case best > 1 && topics != 0:
		return best
	case best == 1 && topics&phone.words != 0 && len(first) >= 7 && !timestamp(first):
		return best
	case best == 1 && topics == 0 && !r.bare(), timestamp(first):
		return 0
	case (topics != 0 || i == 0 && best == c.n && r.bare()) && plausibleBare(c, i, best):
		return best
	}
	return 0
}

// followedByWord tells whether letters stand behind the chain, the one place
// where a word can speak for a number besides the text in front.
func followedByWord(c *chain) bool {
	end := c.g[c.n-1].end
	for k := range contextAfter {
		switch b := at(c.text, end+k); {
		case isLetter(b):
			return true
		case b == '\n', b == '[', b == 0, isDigit(b):
			return false
		}
	}
	return false
}

// dialled returns how many groups from i on could be one number that is
// spoken of: seven to thirteen digits, or three pairs.
func (c *chain) dialled(i int) int {
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

// plausibleBare judges a number that makes up a whole text.
func plausibleBare(c *chain, i, k int) bool {
	var buf [maxPhone]byte
	d := buf[:c.digits(i, i+k-1, buf[:])]
	for j := 1; j < k; j++ {
		if c.gap(i+j) == '.' {
			return false
		}
	}
	if _, ok := c.lens(i, 3, 2, 4); ok {
		return false // a social security number that is none
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

// phoneContext returns what the words around k groups from i on say of phones.
func (r *scan) phoneContext(c *chain, i, k int) context {
	if r.around(c)&(phone.words|callWords) == 0 {
		return 0
	}
	return (r.before(c.g[i].start) | r.after(c.g[i+k-1].end)) & (phone.words | callWords)
}
