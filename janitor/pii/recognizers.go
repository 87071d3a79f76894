// SPDX-License-Identifier: Apache-2.0

package pii

// recognizers is the table of all built-in recognizers; each has a file of its
// own name. Where two match the same digits or the same word, the earlier one
// wins.
var recognizers = enumerate(
	&email,
	&card,
	&iban,
	&phone,
	&ip,
	&ipPrivate,
	&mac,
	&ssn,
	&itin,
	&secret,
	&jwt,
	&privateKey,
	&urlCredentials,
	&assignment,
	&dob,
	&passport,
	&driverLicense,
	&crypto,
	&usABA,
	&usNPI,
	&caSIN,
	&auTFN,
	&auABN,
	&auMedicare,
	&ukNHS,
	&nlBSN,
	&plPESEL,
	&plNIP,
	&frSPI,
	&trID,
	&deTaxID,
	&brCPF,
	&brCNPJ,
	&sePNR,
	&inAadhaar,
	&zaID,
	&krRRN,
	&frNIR,
	&cnID,
	&fiHETU,
	&esNIF,
	&itFiscal,
	&sgFIN,
	&inPAN,
	&mxCURP,
	&usMBI,
	&usDEA,
	&deKVNR,
	&ukNINO)

// builtin is the row of one built-in recognizer.
type builtin struct {
	name   string // as in Options.Recognizers
	entity Entity // label of its findings
	off    bool   // not in the default set
	rank   int    // of two equally long findings, the lower rank gives the label
	doc    string // the values, how they are validated, and the source

	// words are the context words that make a value of this kind likely.
	words context

	// A number with check digits needs no code but valid: groups are the ways of
	// writing it in groups of digits (see digit_groups.go), patterns those of
	// writing it as a word of letters and digits (see word.go).
	groups   string
	patterns string
	valid    func(idNumber) bool

	// match are texts with the values to be found between « and »; noMatch are
	// texts, as near to those as possible, without a finding. A test scans them
	// all.
	match, noMatch []string

	bit recognizerSet // the set of this recognizer alone
}

// idNumber holds the digits and capitals of one number, without separators. It
// is passed by value: a slice that goes through a function field escapes to the
// heap.
type idNumber struct {
	text [maxIDNumber]byte
	size int
}

const maxIDNumber = 20

func (n *idNumber) bytes() []byte { return n.text[:n.size] }

func newIDNumber(text []byte) (n idNumber) {
	n.size = copy(n.text[:], text)
	return n
}

// recognizerSet holds a bit for each recognizer.
type recognizerSet uint64

// enumerate gives each recognizer its bit.
func enumerate(list ...*builtin) []*builtin {
	if len(list) > 64 {
		panic("pii: more recognizers than bits")
	}
	for i, b := range list {
		b.bit = 1 << i
	}
	return list
}

// finds reports whether a recognizer is on.
func (s *Scanner) finds(b *builtin) bool { return s.on&b.bit != 0 }

// builtinByName returns the recognizer of that name, or nil.
func builtinByName(name string) *builtin {
	for _, b := range recognizers {
		if b.name == name {
			return b
		}
	}
	return nil
}

// defaultSet returns the recognizers that are on without options.
func defaultSet() (on recognizerSet) {
	for _, b := range recognizers {
		if !b.off {
			on |= b.bit
		}
	}
	return on
}

// ranks holds the ranks of labels that are not zero.
var ranks = func() map[Entity]int {
	m := make(map[Entity]int)
	for _, b := range recognizers {
		if b.rank != 0 {
			m[b.entity] = b.rank
		}
	}
	return m
}()

// rank orders labels by how specific their evidence is. The lowest wins when
// two findings of one length compete.
func rank(e Entity) int { return ranks[e] }
