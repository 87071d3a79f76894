// SPDX-License-Identifier: Apache-2.0

package pii

// validNINO: UK national insurance number: the prefixes of HMRC's NIM39110.
func validNINO(w []byte) bool {
	for _, c := range w[:2] {
		switch c {
		case 'D', 'F', 'I', 'Q', 'U', 'V':
			return false
		}
	}
	switch string(w[:2]) {
	case "BG", "GB", "KN", "NK", "NT", "TN", "ZZ":
		return false
	}
	return w[1] != 'O' && w[8] >= 'A' && w[8] <= 'D'
}

// spacedNINO takes two letters, k groups of together six digits, and a letter,
// with spaces between.
func (r *scan) spacedNINO(c *chain, i, k int) int {
	text := c.text
	start, end := c.g[i].start, c.g[i+k-1].end
	if at(text, start-1) == ' ' {
		start--
	}
	start -= 2
	if at(text, end) == ' ' {
		end++
	}
	if start < 0 || !isAlpha(text[start]) || !isAlpha(text[start+1]) || inWord(text, start) ||
		!isAlpha(at(text, end)) || isWord(at(text, end+1)) {
		return 0
	}
	var w [9]byte
	w[0], w[1] = text[start]&^0x20, text[start+1]&^0x20
	if c.digits(i, i+k-1, w[2:8]) != 6 {
		return 0
	}
	w[8] = text[end] &^ 0x20
	if !validNINO(w[:]) {
		return 0
	}
	upper := isUpper(text[start]) && isUpper(text[start+1]) && isUpper(text[end])
	if k == 3 || upper || (r.before(start)|r.after(end+1))&ctxNINO != 0 {
		r.add(start, end+1, EntityNINO)
		return k
	}
	return 0
}
