// SPDX-License-Identifier: Apache-2.0

package pii

// birthday looks at group i as a date of birth: a date in figures, or a day
// and a year around the name of a month, behind a word such as "born".
func (r *scan) birthday(c *chain, i int) int {
	n := c.g[i].len()
	if n > 4 || n == 3 {
		return 0
	}
	k, end := 0, 0
	if i+3 <= c.n && r.around(c)&ctxBirth != 0 {
		k = c.dateFigures(i)
	}
	start := c.g[i].start
	if k > 0 {
		end = c.g[i+k-1].end
		if isAlpha(at(c.text, end)) {
			return 0 // a time stamp
		}
	} else if n <= 2 {
		if start, end = monthDate(c.text, c.g[i]); end == 0 {
			return 0
		}
		k = 1
	} else {
		return 0
	}
	if r.before(start)&ctxBirth == 0 || isWord(at(c.text, end)) {
		return 0
	}
	r.add(start, end, EntityBirth)
	return k
}
