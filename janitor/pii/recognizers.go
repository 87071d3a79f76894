// SPDX-License-Identifier: Apache-2.0

package pii

// recognizers is the table of the built-in recognizers. Each has a file of its
// name. Where two read the same digits or the same word, the earlier one wins.
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

// builtin is one built-in recognizer: all that is its own, but for a finder
// that trigger.go calls.
type builtin struct {
	name   string // as in Options.Recognizers
	entity Entity // label of its findings
	off    bool   // not in the default set
	rank   int    // of two findings of one length, the label of the lower rank stays
	doc    string // what it finds, how it is validated, and the source

	// words are those that speak for a value beside them.
	words context

	// A number with check digits needs no finder: these say how it is written,
	// as digits in groups (see digit_groups.go) or as a word of letters and
	// digits (see word.go), and whether it is valid.
	groups   string
	patterns string
	valid    func(idNumber) bool

	// match are texts with the values that are found between « and »; noMatch
	// are texts, as near to those as possible, in which nothing is found. A test
	// scans all of them.
	match, noMatch []string

	bit recognizerSet // the set of this one alone
}

// idNumber holds the digits and capitals of one number, without separators. It
// is passed by value: a slice passed through a field moves to the heap.
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

// defaultSet is what is on without options.
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

// rank orders labels by how specific their evidence is: the lowest wins when
// two findings of one length compete.
func rank(e Entity) int { return ranks[e] }
