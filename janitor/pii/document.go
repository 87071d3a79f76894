// SPDX-License-Identifier: Apache-2.0

package pii

// document looks at a word with digits at text[start:] as the number of a
// passport or a driver's licence. Their formats say next to nothing, so a word
// in front must: "passport", or "driver" together with "licence".
func (r *scan) document(start int) {
	if !r.on[recPassport] && !r.on[recLicense] {
		return
	}
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
	if n < 6 || digits < 4 || years(r.text[start:end]) {
		return
	}
	topics := r.before(start)
	switch {
	case topics&ctxPassport != 0 && r.on[recPassport] && passportShape(r.text[start:end]):
		r.add(start, end, EntityPassport)
	case topics&ctxLicense != 0 && (topics&ctxDriver != 0 || topics&ctxLicenseOnly != 0) && r.on[recLicense]:
		r.add(start, end, EntityLicense)
	}
}
