// SPDX-License-Identifier: Apache-2.0

package pii

// national is a number of digits only that a country gives its people: how
// its groups are written and which words speak of it.
type national struct {
	rec    int
	shapes string // groupings, see parseShape; "!" in front: sure without a word
	topics context
}

// grouping is one way of writing a number in groups.
type grouping struct {
	lens []int
	next int    // length of the second group, 0 when there is none
	seps []byte // between the groups; '_' stands for a space or a hyphen
	sure bool
	of   *national
}

// shapesByFirst holds the groupings of all national numbers by the length of
// their first group.
var shapesByFirst = func() (table [20][]grouping) {
	for k := range nationals {
		n := &nationals[k]
		for _, g := range parseShapes(n.shapes) {
			g.of = n
			if len(g.lens) > 1 {
				g.next = g.lens[1]
			}
			table[g.lens[0]] = append(table[g.lens[0]], g)
		}
	}
	return table
}()

// parseShapes reads groupings such as "11 !3.3.3-2": space-separated, each the
// lengths of the groups with the separator between.
func parseShapes(list string) (shapes []grouping) {
	var g grouping
	n := 0
	for i := 0; i <= len(list); i++ {
		switch {
		case i == len(list) || list[i] == ' ':
			g.lens = append(g.lens, n)
			shapes = append(shapes, g)
			g, n = grouping{}, 0
		case list[i] == '!':
			g.sure = true
		case isDigit(list[i]):
			n = n*10 + int(list[i]-'0')
		default:
			g.lens = append(g.lens, n)
			g.seps = append(g.seps, list[i])
			n = 0
		}
	}
	return shapes
}

// matches tells whether the chain has this grouping from group i on.
func (g *grouping) matches(c *chain, i int) bool {
	if i+len(g.lens) > c.n {
		return false
	}
	for k, sep := range g.seps {
		if c.g[i+k+1].len() != g.lens[k+1] {
			return false
		}
		gap := c.gap(i + k + 1)
		if gap != sep && (sep != '_' || gap != ' ' && gap != '-') {
			return false
		}
		if sep == '_' && k > 0 && gap != c.gap(i+1) {
			return false
		}
	}
	return c.ends(i + len(g.lens) - 1)
}

// national looks for the numbers of the table at group i. Of those that
// validate, one that a word speaks for wins; then one whose writing is sure;
// a text of nothing but numbers is taken for the first that validates.
func (r *scan) national(c *chain, i int) int {
	first := c.g[i].len()
	if first >= len(shapesByFirst) {
		return 0
	}
	var buf [20]byte
	var sure *grouping
	shapes := shapesByFirst[first]
	bare := i == 0 && r.bare()
	next := 0
	if i+1 < c.n {
		next = c.g[i+1].len()
	}
	for k := range shapes {
		g := &shapes[k]
		if g.next > 0 && g.next != next {
			continue
		}
		if !g.sure && !bare && r.around(c)&g.of.topics == 0 || !r.on[g.of.rec] || !g.matches(c, i) {
			continue
		}
		last := i + len(g.lens) - 1
		said := r.around(c)&g.of.topics != 0 && (r.before(c.g[i].start)|r.after(c.g[last].end))&g.of.topics != 0
		if !said && (sure != nil || !g.sure && !(bare && last == c.n-1)) {
			continue
		}
		d := buf[:c.digits(i, last, buf[:])]
		if sameDigits(d) || !g.of.valid(d) {
			continue
		}
		if said {
			r.add(c.g[i].start, c.g[last].end, builtins[g.of.rec].entity)
			return len(g.lens)
		}
		sure = g
	}
	if sure == nil {
		return 0
	}
	r.add(c.g[i].start, c.g[i+len(sure.lens)-1].end, builtins[sure.of.rec].entity)
	return len(sure.lens)
}

// nationals are the numbers of digits only, with the published algorithm of
// each. In ambiguous texts the earlier entry wins.
var nationals = []national{
	{recABA, "9 4-4-1", ctxABA},
	{recNPI, "10 4-3-3", ctxNPI},
	{recCASIN, "3_3_3 9", ctxCASIN},
	{recAUTFN, "9 3_3_3 8", ctxAUTFN},
	{recAUABN, "11 2_3_3_3", ctxAUABN},
	{recAUMedicare, "10 4_5_1", ctxMedicare},
	{recNHS, "10 3_3_4", ctxNHS},
	{recNLBSN, "9 4.2.3", ctxBSN},
	{recPESEL, "11", ctxPESEL},
	{recPLNIP, "10 3-3-2-2 3-2-2-3", ctxNIP},
	{recFRSPI, "13 2_2_3_3_3", ctxSPI},
	{recTRID, "11", ctxTRID},
	{recDETaxID, "11 2_3_3_3", ctxDETax},
	{recBRCPF, "11 !3.3.3-2", ctxCPF},
	{recBRCNPJ, "14 !2.3.3/4-2", ctxCNPJ},
	{recSEPNR, "10 12 6-4 8-4", ctxSEPNR},
	{recAadhaar, "12 4_4_4", ctxAadhaar},
	{recZAID, "13", ctxZAID},
	{recKRRRN, "13 !6-7", ctxKRRRN},
	{recFRNIR, "!15 !1_2_2_2_3_3_2 !13_2", ctxFRNIR},
	{recCNID, "!18", ctxCNID},
	{recFIHETU, "6-4", ctxHETU},
}

// valid applies the algorithm of the number. A switch, not a field of the
// table: calls through a field would move the digits to the heap.
func (n *national) valid(d []byte) bool {
	switch n.rec {
	case recABA:
		return validABA(d)
	case recNPI:
		return validNPI(d)
	case recCASIN:
		return validSIN(d)
	case recAUTFN:
		return validTFN(d)
	case recAUABN:
		return validABN(d)
	case recAUMedicare:
		return validMedicare(d)
	case recNHS:
		return validNHS(d)
	case recNLBSN:
		return validBSN(d)
	case recPLNIP:
		return validNIP(d)
	case recFRSPI:
		return validSPI(d)
	case recPESEL:
		return validPESEL(d)
	case recTRID:
		return validTRID(d)
	case recDETaxID:
		return validDETaxID(d)
	case recBRCPF:
		return validCPF(d)
	case recBRCNPJ:
		return validCNPJ(d)
	case recSEPNR:
		return validPersonnummer(d)
	case recAadhaar:
		return validAadhaar(d)
	case recZAID:
		return validZAID(d)
	case recKRRRN:
		return validRRN(d)
	case recFRNIR:
		return validNIR(d)
	case recCNID:
		return validCNID(d)
	case recFIHETU:
		var w [11]byte
		copy(w[:], d[:6])
		w[6] = '-'
		copy(w[7:], d[6:])
		return validHETU(w[:])
	}
	return false
}
