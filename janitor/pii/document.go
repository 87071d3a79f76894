// SPDX-License-Identifier: Apache-2.0

package pii

// maxDocument is the longest number of a document.
const maxDocument = 20

// document looks at a word with digits at text[start:] as the number of a
// passport or a driver's licence. Almost anything has their formats, so a word
// before it must mean "passport", or "driver" together with "licence". The
// digits text[start:end] begin it.
func (r *scan) document(start, end int) {
	if !documentBegins(r.text, start) {
		return
	}
	end = documentEnd(r.text, start, end)
	if end == 0 || isWord(byteAt(r.text, end)) || !r.finds(&passport) && !r.finds(&driverLicense) {
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
// text[start]: after white space or punctuation that introduces a value.
func documentBegins(text []byte, start int) bool {
	switch c := byteAt(text, start-1); c {
	case ' ', ':', '#', '"', '\'', '>', 0:
		return true
	default:
		return c >= 0x80 || escapeBefore(text, start) > 0
	}
}

// documentEnd returns the end of the word at text[start:] if it has six to
// twenty letters, digits, and hyphens before digits, at least four of them
// digits; zero for other words, ranges of years and dates. The digits
// text[start:end] begin it.
func documentEnd(text []byte, start, end int) int {
	digits := end - start
	for ; end < len(text) && end-start <= maxDocument; end++ {
		if c := class[text[end]]; c&clsDigit != 0 {
			digits++
		} else if c&clsAlpha == 0 && (text[end] != '-' || !isDigit(byteAt(text, end+1))) {
			break
		}
	}
	if n := end - start; n < 6 || n > maxDocument || digits < 4 || isYearsOrDate(text[start:end]) {
		return 0
	}
	return end
}
