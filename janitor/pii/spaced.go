// SPDX-License-Identifier: Apache-2.0

package pii

// spaced looks at group i for the codes with letters that are also written in
// groups: UK national insurance numbers (AB 12 34 56 C), Finnish identity
// codes (131052-308T), Spanish NIF (12345678-Z).
func (r *scan) spaced(c *chain, i int) int {
	switch c.g[i].len() {
	case 2:
		if _, ok := c.lens(i, 2, 2, 2); ok && r.on[recNINO] {
			return r.spacedNINO(c, i, 3)
		}
	case 6:
		if r.on[recNINO] && i == 0 {
			if n := r.spacedNINO(c, i, 1); n > 0 {
				return n
			}
		}
		if sep, ok := c.lens(i, 6, 3); ok && sep == '-' && r.on[recFIHETU] {
			return r.dashedHETU(c, i)
		}
	case 8:
		if r.on[recESNIF] {
			return r.dashedNIF(c, i)
		}
	}
	return 0
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

// dashedHETU takes six digits, a hyphen, three digits and a check character.
func (r *scan) dashedHETU(c *chain, i int) int {
	end := c.g[i+1].end
	if isWord(at(c.text, end+1)) || end >= len(c.text) {
		return 0
	}
	var w [11]byte
	copy(w[:], c.text[c.g[i].start:end])
	w[10] = c.text[end]
	if isLower(w[10]) {
		w[10] &^= 0x20
	}
	if !validHETU(w[:]) {
		return 0
	}
	r.add(c.g[i].start, end+1, EntityFIHETU)
	return 2
}

// dashedNIF takes eight digits, a hyphen and the check letter.
func (r *scan) dashedNIF(c *chain, i int) int {
	end := c.g[i].end
	if at(c.text, end) != '-' || !isAlpha(at(c.text, end+1)) || isWord(at(c.text, end+2)) {
		return 0
	}
	var w [9]byte
	copy(w[:], c.text[c.g[i].start:end])
	w[8] = c.text[end+1] &^ 0x20
	if !validNIF(w[:]) || !isUpper(c.text[end+1]) && (r.before(c.g[i].start)|r.after(end+2))&ctxNIF == 0 {
		return 0
	}
	r.add(c.g[i].start, end+2, EntityESNIF)
	return 1
}
