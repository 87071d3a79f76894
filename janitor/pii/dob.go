// SPDX-License-Identifier: Apache-2.0

package pii

// EntityBirth labels dates of birth.
const EntityBirth Entity = "DOB"

var dob = builtin{
	name:   "dob",
	entity: EntityBirth,
	doc:    "Dates of birth: a date after a word such as born, birthday or DOB.",
	words: topic("born birth birthday birthdate dob geboren geburtsdatum geb naissance né née nacimiento nacido nascita nato nata "+
		"nascimento geboortedatum urodzenia dateofbirth", "出生 生年月日 生日"),
	match: []string{
		"DOB: «03/12/1980»",
		"born on «March 12th, 1980»",
		"出生日期：«1980-03-12»",
	},
	noMatch: []string{
		"due 03/12/1980",
		"born 35/12/1980",
		"born 1980-03-12T10:00:00Z",
	},
}

// birthday looks at group i as a date of birth: a date in figures, or a day
// and a year around the name of a month, after a word such as "born".
func (r *scan) birthday(c *chain, i int) int {
	n := c.g[i].len()
	if n > 4 || n == 3 {
		return 0
	}
	k, end := 0, 0
	if i+3 <= c.n && r.topicsAround(c)&dob.words != 0 {
		k = c.dateFigures(i)
	}
	start := c.g[i].start
	if k > 0 {
		end = c.g[i+k-1].end
		if isAlpha(byteAt(c.text, end)) {
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
	if r.topicsBefore(start)&dob.words == 0 || isWord(byteAt(c.text, end)) {
		return 0
	}
	r.add(start, end, EntityBirth)
	return k
}
