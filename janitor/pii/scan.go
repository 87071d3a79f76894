// SPDX-License-Identifier: Apache-2.0

package pii

import (
	"encoding/binary"
	"math/bits"
)

// scan is one pass over one text. It lives on the stack.
type scan struct {
	*Scanner
	text []byte
	out  []Span
	part bool // the text is a window of a longer one

	masked bool // placeholders stand over the findings in the text, see edges.go

	// Of a window of folded text, see fold.go.
	win    *window
	outer  []byte // the text it was folded from
	beyond int    // where in it the window ends, 0 at its end
	reach  int    // where in it the last value that leaves the window ends

	runs     runs // stretches of secret alphabets, see alphabet.go
	numDone  int  // digits before this offset are settled
	wordDone int  // words of letters and digits before this are settled
	chain    chain
	hexDone  int // colon-separated groups before this offset are settled

	plainFrom, plainTo int      // the last value without quotes, see assignment.go
	nested             int      // assignments in it that were judged in vain
	taken              int      // assignments before this offset lie in a value found
	words              vicinity // see context.go

	work int // bytes looked at beyond the first pass, about; see effort

	lastAt, lastScheme int // result of the last look back for a URL, see url_credentials.go
}

const (
	blockSize = 64
	ones      = 0x0101010101010101
	highs     = 0x8080808080808080
	lows      = 0x7f7f7f7f7f7f7f7f
	// gather moves the high bits of eight bytes, shifted down to bit 0 of
	// each, into the top byte.
	gather = 0x0102040810204080

	// minToken is the length of the shortest token that the table of secrets is
	// asked for. Above 15, one mask is enough.
	minToken = 16
)

// reportWork receives, after each scan, about how many bytes the verifiers have
// read. Tests set it to see that the work is linear in the text; otherwise it
// is nil.
var reportWork func(work int)

// Work that costs more than its bytes, in bytes.
const (
	workHash   = 512 // a checksum of an address
	workGroup  = 32  // all kinds of numbers at a group of digits
	workFormat = 8   // the table of secrets at a word
)

// run scans the text, and once more where characters fold to ASCII.
//
// The first pass finds the positions where something could begin and hands
// each to its verifier.
func (r *scan) run() {
	if r.runPlain() {
		r.fold()
	}
}

// runPlain scans the text as it stands and reports whether there are bytes
// beyond ASCII in it.
func (r *scan) runPlain() bool {
	text := r.text
	var (
		tokenStart = 0
		digitCarry = uint64(0)
		high       = uint64(0)
		tail       [blockSize]byte
	)
	for base := 0; base < len(text); base += blockSize {
		block := text[base:]
		if len(block) < blockSize {
			n := copy(tail[:], block)
			for i := n; i < blockSize; i++ {
				tail[i] = ' '
			}
			block = tail[:]
		}
		digits, tokens, colons, beyond := masks((*[blockSize]byte)(block))
		if len(text)-base < blockSize {
			clear(tail[:]) // the stack keeps nothing of the text
		}
		high |= beyond
		if digits != 0 {
			starts := digits &^ (digits<<1 | digitCarry)
			for ; starts != 0; starts &= starts - 1 {
				r.number(base + bits.TrailingZeros64(starts))
			}
		}
		digitCarry = digits >> 63
		for ; colons != 0; colons &= colons - 1 {
			r.colon(base + bits.TrailingZeros64(colons))
		}
		if tokens == ^uint64(0) {
			continue
		}
		// The token that reached into this block ends at the first gap.
		gaps := ^tokens
		first := bits.TrailingZeros64(gaps)
		if end := base + first; end-tokenStart >= minToken {
			r.token(tokenStart, end)
		}
		inner := tokens &^ (1<<uint(first) - 1)
		long := inner & (inner >> 1)
		long &= long >> 2
		long &= long >> 4
		long &= long >> 8
		for long != 0 {
			i := bits.TrailingZeros64(long)
			n := bits.TrailingZeros64(^(tokens >> uint(i)))
			if i+n >= blockSize {
				break // goes on in the next block
			}
			r.token(base+i, base+i+n)
			long &^= (1<<uint(n) - 1) << uint(i)
		}
		tokenStart = base + blockSize - bits.LeadingZeros64(gaps)
	}
	if len(text)%blockSize == 0 && len(text)-tokenStart >= minToken {
		r.token(tokenStart, len(text))
	}
	r.mails()
	r.privateKeys()
	return high != 0
}

// masks classifies the bytes of a block, bit i for byte i: digits; bytes of
// tokens, which are letters, digits and -./_+ with some brackets; and the range
// ':' to '='. The last result is zero when all bytes are ASCII.
//
// It classifies eight bytes at a time by adding to the low seven bits of each,
// so that bit 7 answers "at least this much"; no carry reaches the next byte.
func masks(block *[blockSize]byte) (digits, tokens, colons, beyond uint64) {
	for i := 0; i < 8; i++ {
		x := binary.LittleEndian.Uint64(block[i*8:])
		beyond |= x
		y := x & lows
		from3a := y + ones*(0x80-0x3a)
		digit := (y + ones*(0x80-0x30)) &^ from3a &^ x & highs
		colon := from3a &^ (y + ones*(0x80-0x3e)) &^ x & highs
		plus := ^((y ^ ones*'+') + lows)
		letter := (y | ones*0x20) + ones*(0x80-0x61)
		token := ((y+ones*(0x80-0x2d))&^from3a | letter | plus) &^ x & highs
		shift := uint(i * 8)
		digits |= (digit >> 7 * gather >> 56) << shift
		tokens |= (token >> 7 * gather >> 56) << shift
		colons |= (colon >> 7 * gather >> 56) << shift
	}
	return digits, tokens, colons, beyond & highs
}
