// SPDX-License-Identifier: Apache-2.0

package pii

// document looks at a word with digits at text[start:] as the number of a
// passport or a driver's licence. Their formats say next to nothing, so a word
// in front must: "passport", or "driver" together with "licence".
func (r *scan) document(start int) {
	if !documentBegins(r.text, start) {
		return
	}
	end := documentEnd(r.text, start)
	if end == 0 || isWord(byteAt(r.text, end)) || joinedBefore(r.text, start) || !r.finds(&passport) && !r.finds(&driverLicense) {
		return
	}
	topics := r.topicsBefore(start)
	switch {
	case topics&passport.words != 0 && r.finds(&passport) && passportShape(r.text[start:end]):
		r.add(start, end, EntityPassport)
	case topics&driverLicense.words != 0 && topics&(driverWords|licenseWords) != 0 && r.finds(&driverLicense):
		r.add(start, end, EntityLicense)
	}
}

// documentBegins reports whether the number of a document can begin at
// text[start]: behind white space or what sets a value off.
func documentBegins(text []byte, start int) bool {
	switch c := byteAt(text, start-1); c {
	case ' ', ':', '#', '"', '\'', '>', 0:
		return true
	default:
		return c >= 0x80 || escapeBefore(text, start) > 0
	}
}

// documentEnd returns the end of a word of six to twenty letters, digits, and
// hyphens in front of digits, with four digits or more; zero when the word at
// text[start:] is none, or a range of years or a date.
func documentEnd(text []byte, start int) int {
	end, digits := start, 0
	for end < len(text) && (isAlnum(text[end]) || text[end] == '-' && isDigit(byteAt(text, end+1))) {
		if isDigit(text[end]) {
			digits++
		}
		if end++; end-start > 20 {
			return 0
		}
	}
	if end-start < 6 || digits < 4 || isYearsOrDate(text[start:end]) {
		return 0
	}
	return end
}
