// SPDX-License-Identifier: Apache-2.0

package pii

// document looks at a word with digits at text[start:] as the number of a
// passport or a driver's licence. Their formats say next to nothing, so a word
// in front must: "passport", or "driver" together with "licence".
func (r *scan) document(start int) {
	switch at(r.text, start-1) {
	case ' ', ':', '#', '"', '\'', '>', 0:
	default:
		if r.text[start-1] < 0x80 && escapeBefore(r.text, start) == 0 {
			return
		}
	}
	end, digits := start, 0
	for end < len(r.text) && (isAlnum(r.text[end]) || r.text[end] == '-' && isDigit(at(r.text, end+1))) {
		if isDigit(r.text[end]) {
			digits++
		}
		end++
		if end-start > 20 {
			return
		}
	}
	n := end - start
	if isWord(at(r.text, end)) || joinedBefore(r.text, start) {
		return
	}
	if n < 6 || digits < 4 || years(r.text[start:end]) || !r.finds(&passport) && !r.finds(&driverLicense) {
		return
	}
	topics := r.before(start)
	switch {
	case topics&passport.words != 0 && r.finds(&passport) && passportShape(r.text[start:end]):
		r.add(start, end, EntityPassport)
	case topics&driverLicense.words != 0 && (topics&driverWords != 0 || topics&licenseWords != 0) && r.finds(&driverLicense):
		r.add(start, end, EntityLicense)
	}
}
