// SPDX-License-Identifier: Apache-2.0

// Package json compares the parser of internal/prompt with
// go-json-experiment/json, another strict parser: both accept the same bodies and
// find the same strings. It is a module of its own, so that building the gateway
// does not download that parser.
package json

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"testing"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/bauxite/caddy-kvaware/internal/prompt"
)

// theirs returns all string values and member names of a JSON text, sorted, and its
// nesting depth, or an error when the text is not strict JSON.
func theirs(body []byte) (all []string, depth int, err error) {
	in := jsontext.NewDecoder(bytes.NewReader(body))
	values := 0
	for {
		token, err := in.ReadToken()
		if errors.Is(err, io.EOF) {
			if values != 1 {
				return nil, depth, errors.New("not one value")
			}
			slices.Sort(all)
			return all, depth, nil
		}
		if err != nil {
			return nil, depth, err
		}
		depth = max(depth, in.StackDepth())
		if token.Kind() == '"' {
			all = append(all, token.String())
		}
		if in.StackDepth() == 0 {
			values++
		}
	}
}

// ours returns the strings that prompt.Document finds in a body of an unknown API,
// where every string is a text.
func ours(body []byte) (all []string, err error) {
	var d prompt.Document
	if err := d.Parse(prompt.Other, body); err != nil {
		return nil, err
	}
	var decoded prompt.Decoded
	for _, text := range d.Texts {
		text.Decode(d.Body, &decoded)
		all = append(all, string(decoded.Bytes))
	}
	slices.Sort(all)
	return all, nil
}

// Both parsers agree on every body.
func FuzzWalk(f *testing.F) {
	for _, seed := range []string{
		`{}`, `[]`, `"a"`, `1`, `null`, `{"a":"b"}`, `{"a":["b",{"c":"d\u0041\n"}],"e":1.5e3}`, `{"a":1,"a":2}`, `{"a":1,"\u0061":2}`,
		"\xef\xbb\xbf{}", `"\ud800"`, `"\ud83d\ude00"`, "\"\xff\"", `[1,]`, `{"a":}`, `01`, `-`, `1e`, `{"a":"b"} x`, "\"\x01\"", ` [ ] `, `tru`, `[[[[]]]]`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		want, depth, wantErr := theirs(body)
		got, gotErr := ours(body)
		if depth > prompt.MaxDepth {
			return // the other parser nests deeper
		}
		if (gotErr == nil) != (wantErr == nil) {
			t.Fatalf("%q: our error is %v, theirs %v", body, gotErr, wantErr)
		}
		if gotErr == nil && !subset(got, want) {
			t.Fatalf("the strings of %q differ:\nours   %q\ntheirs %q", body, got, want)
		}
	})
}

// subset reports whether theirs contains all of ours, which leaves out well-known
// member names and the strings of some members.
func subset(ours, theirs []string) bool {
	for _, s := range ours {
		i, found := slices.BinarySearch(theirs, s)
		if !found {
			return false
		}
		theirs = slices.Delete(slices.Clone(theirs), i, i+1)
	}
	return true
}
