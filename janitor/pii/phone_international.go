// SPDX-License-Identifier: Apache-2.0

package pii

// internationalPhone takes "+", a country code and a national number of a
// length that the country has.
func (r *scan) internationalPhone(c *chain, i int) int {
	plus := c.g[i].start - 1
	if c.text[plus] == '(' {
		plus--
	}
	if before := byteAt(c.text, plus-1); inWord(c.text, plus) || before == '+' || before == ')' || before == ']' || before == '.' {
		return 0
	}
	k := c.countryCodeGroups(i, 0)
	if k == 0 || k == 2 && r.coordinates(c, i) {
		return 0
	}
	r.addPhone(c, i, k)
	return k
}

// coordinates reports whether two groups are a place on earth in degrees and
// minutes, or seconds (ISO 6709): "+4612-05957". Beside a word for phones they
// are a number.
func (r *scan) coordinates(c *chain, i int) bool {
	a, b := c.g[i], c.g[i+1]
	if c.gap(i+1) != '-' || !(a.len() == 4 && b.len() == 5 || a.len() == 6 && b.len() == 7) {
		return false
	}
	latitude, longitude := c.text[a.start:a.end], c.text[b.start:b.end]
	return num(latitude[:2]) < 90 && latitude[2] < '6' && num(longitude[:3]) <= 180 && longitude[3] < '6' && r.phoneContext(c, i, 2) == 0
}

// countryCodeGroups returns the number of groups from i on that make a number with
// a country code, which begins after skip digits. The longest one that fits is
// taken.
func (c *chain) countryCodeGroups(i, skip int) int {
	var buf [maxPhone]byte
	best, n := 0, 0
	for k := 1; i+k <= c.n && k <= 8; k++ {
		more := c.digits(i+k-1, i+k-1, buf[n:])
		if more == 0 {
			break
		}
		n += more
		if n > skip && buf[skip] == '0' {
			return 0 // no country has this code
		}
		if n < skip+7 {
			continue
		}
		d := buf[skip:n]
		code, l := splitCode(d)
		if code == 0 {
			return 0
		}
		national := d[code:]
		if national[0] == '0' && len(national) > int(l.min) && (d[0] != '1' || code > 1) {
			national = national[1:] // the trunk prefix, as in +44 (0)20
		}
		if len(national) > int(l.max) {
			break
		}
		if len(national) >= int(l.min) && c.endsPhone(i+k-1) {
			best = k
		}
	}
	return best
}

// nationalLength is the least and most digits of a national number, the trunk
// prefix not counted; zero for codes that are not assigned.
type nationalLength struct{ min, max uint8 }

// callingCodes gives the lengths by country calling code: the ITU-T E.164 list
// of assigned codes and the numbering plans of the members.
var callingCodes = func() (table [1000]nationalLength) {
	const list = "1:10 7:10 20:8-10 27:9 30:10 31:9-11 32:8-9 33:9 34:9 36:8-9 39:6-11 40:9 41:9 43:4-13 44:9-10 45:8 " +
		"46:7-10 47:8 48:9 49:6-11 51:8-9 52:10-11 53:6-8 54:10-11 55:10-11 56:9 57:8-10 58:10 60:8-10 61:9 62:8-12 " +
		"63:8-10 64:8-10 65:8 66:8-9 81:9-10 82:8-11 84:9-10 86:10-11 90:10 91:10 92:9-10 93:9 94:9 95:7-10 98:10 " +
		"211:9 212:9 213:8-9 216:8 218:8-9 220:7 221:9 222:8 223:8 224:8-9 225:8-10 226:8 227:8 228:8 229:8-10 230:7-8 " +
		"231:7-9 232:8 233:9 234:8-10 235:8 236:8 237:8-9 238:7 239:7 240:9 241:7-8 242:9 243:9 244:9 245:7-9 246:7 247:4-6 " +
		"248:7 249:9 250:9 251:9 252:7-9 253:8 254:9 255:9 256:9 257:8 258:8-9 260:9 261:9 262:9 263:8-10 264:8-9 " +
		"265:7-9 266:8 267:7-8 268:8 269:7 290:4-5 291:7 297:7 298:6 299:6 350:8 351:9 352:6-11 353:7-10 354:7-9 355:8-9 356:8 " +
		"357:8 358:6-11 359:7-9 370:8 371:8 372:7-8 373:8 374:8 375:9 376:6-9 377:8-9 378:6-10 380:9 381:8-9 382:8-9 " +
		"383:8-9 385:8-9 386:8 387:8-9 389:8 420:9 421:9 423:7-9 500:5 501:7 502:8 503:8 504:8 505:8 506:8 507:7-8 508:6-9 " +
		"509:8 590:9 591:8 592:7 593:8-9 594:9 595:9 596:9 597:6-7 598:8 599:7-8 670:7-8 672:6 673:7 674:7 675:7-8 " +
		"676:5-7 677:5-7 678:5-7 679:7 680:7 681:6 682:5 683:4-7 685:5-7 686:5-8 687:6 688:5-6 689:6-8 690:4-7 691:7 692:7 800:8 808:8 " +
		"850:8-10 852:8 853:8 855:8-9 856:8-10 870:9 880:8-10 881:8-9 882:7-12 883:7-12 886:8-9 888:8 960:7 961:7-8 " +
		"962:8-9 963:8-9 964:8-10 965:8 966:9 967:7-9 968:8 970:8-9 971:8-9 972:8-9 973:8 974:8 975:7-8 976:8 977:8-10 " +
		"979:9 992:9 993:8 994:9 995:9 996:9 998:9 "
	code, low, n := 0, 0, 0
	for i := range len(list) {
		switch c := list[i]; c {
		case ':':
			code, n = n, 0
		case '-':
			low, n = n, 0
		case ' ':
			if low == 0 {
				low = n
			}
			table[code] = nationalLength{uint8(low), uint8(n)}
			low, n = 0, 0
		default:
			n = n*10 + int(c-'0')
		}
	}
	return table
}()

// splitCode returns the length of the country calling code that the digits
// begin with and the lengths its national numbers have; zero when there is no
// such code. Codes are prefix-free, so the first that fits is the one.
func splitCode(d []byte) (int, nationalLength) {
	code := 0
	for n := 1; n <= 3 && n <= len(d); n++ {
		code = code*10 + int(d[n-1]-'0')
		if code == 0 {
			return 0, nationalLength{}
		}
		if l := callingCodes[code]; l.max > 0 {
			return n, l
		}
	}
	return 0, nationalLength{}
}
