// SPDX-License-Identifier: Apache-2.0

package prompt

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"
)

// golden is the slow model of reading a body: encoding/json, with checks that make
// it as strict as the parser.
type golden struct {
	err     *Error         // the first error of the body, if any
	strings []goldenString // every key and string value in body order
}

type goldenString struct {
	text string
	key  bool
	path string // of a value: keys and indexes on the way, "choices/0/delta"
}

func readGolden(body []byte) golden {
	g := golden{}
	switch {
	case isForeignEncoding(body):
		return golden{err: ErrEncoding}
	case !json.Valid(body):
		return golden{err: ErrSyntax}
	case !utf8.Valid(body):
		return golden{err: ErrUTF8}
	case hasLoneSurrogate(body):
		return golden{err: ErrSurrogate}
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	if err := g.value(dec, "", 0); err != nil {
		return golden{err: err}
	}
	return g
}

func (g *golden) value(dec *json.Decoder, path string, depth int) *Error {
	tok, err := dec.Token()
	if err != nil {
		return ErrSyntax
	}
	switch tok := tok.(type) {
	case string:
		g.strings = append(g.strings, goldenString{tok, false, path})
	case json.Delim:
		if depth++; depth > MaxDepth {
			return ErrDepth
		}
		seen := map[string]bool{}
		for i := 0; dec.More(); i++ {
			step := strconv.Itoa(i)
			if tok == '{' {
				key, err := dec.Token()
				if err != nil {
					return ErrSyntax
				}
				step = key.(string)
				if seen[step] {
					return ErrDuplicateKey
				}
				seen[step] = true
				g.strings = append(g.strings, goldenString{step, true, ""})
			}
			if err := g.value(dec, path+"/"+step, depth); err != nil {
				return err
			}
		}
		if _, err := dec.Token(); err != nil && err != io.EOF {
			return ErrSyntax
		}
	}
	return nil
}

// hasLoneSurrogate reads the escapes of a valid JSON text one by one.
func hasLoneSurrogate(b []byte) bool {
	unit := func(i int) (uint64, bool) {
		if i+6 > len(b) || b[i] != '\\' || b[i+1] != 'u' {
			return 0, false
		}
		v, err := strconv.ParseUint(string(b[i+2:i+6]), 16, 16)
		return v, err == nil
	}
	for i := 0; i < len(b); i++ {
		if b[i] != '\\' {
			continue
		}
		v, ok := unit(i)
		switch {
		case !ok:
			i++ // a two-byte escape
		case v >= 0xD800 && v < 0xDC00:
			if lo, ok := unit(i + 6); !ok || lo < 0xDC00 || lo > 0xDFFF {
				return true
			}
			i += 11
		case v >= 0xDC00 && v <= 0xDFFF:
			return true
		default:
			i += 5
		}
	}
	return false
}

// quote writes s as a JSON string with the fewest escapes.
func quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < ' ':
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// unquote decodes the inside of a JSON string.
func unquote(raw []byte) (string, error) {
	var s string
	err := json.Unmarshal([]byte(`"`+string(raw)+`"`), &s)
	return s, err
}
