// SPDX-License-Identifier: Apache-2.0

package janitor

import (
	"slices"

	"github.com/bauxite/caddy-kvaware/internal/prompt"
)

// members locates where members of the forwarded body can be added or replaced.
type members struct {
	open          int // after the first '{'; 0: the body is no object
	empty         bool
	streamOptions prompt.Member
	includeUsage  prompt.Member
	cacheSalt     prompt.Member
}

// membersOf returns the members of a document whose Body is forwarded.
func membersOf(d *prompt.Document) members {
	return members{
		open:          d.InsertAt,
		empty:         d.Empty,
		streamOptions: d.StreamOptions,
		includeUsage:  d.IncludeUsage,
		cacheSalt:     d.CacheSalt,
	}
}

// AskUsage makes the engine report usage in its streamed answer, and removes the
// chunk with it before the client sees it. It changes nothing if the answer has
// usage anyway: the answer is not streamed, the client asks for usage, or the
// API always reports it. It reports whether usage can be expected.
func (x *Exchange) AskUsage() bool {
	if dialect := x.api.Dialect(); !dialect.UsageOnRequest || !x.stream {
		return x.bodyRead && dialect.Signable
	}
	if x.body == nil || x.places.open == 0 {
		return false
	}
	if x.dropUsage {
		return true
	}
	m := &x.places
	switch {
	case m.includeUsage.Present():
		if string(x.body[m.includeUsage.Start:m.includeUsage.End]) == "true" {
			return true
		}
		x.edit(m.includeUsage.Start, m.includeUsage.End, "true")
	case m.streamOptions.Present() && x.body[m.streamOptions.Start] == '{':
		at, comma := m.streamOptions.Start+1, ","
		if m.streamOptions.Empty {
			comma = ""
		}
		x.edit(at, at, `"include_usage":true`+comma)
	case m.streamOptions.Present(): // null, or a value that the engine refuses
		if string(x.body[m.streamOptions.Start:m.streamOptions.End]) != "null" {
			return false
		}
		x.edit(m.streamOptions.Start, m.streamOptions.End, `{"include_usage":true}`)
	default:
		x.addMember(`"stream_options":{"include_usage":true}`)
	}
	x.dropUsage = true
	return true
}

// Salt sets the member cache_salt and replaces the client's: the salt separates
// tenants, so no client may choose it. It must consist of letters, digits, '-'
// and '_'. Salt reports false if it cannot set the member.
func (x *Exchange) Salt(salt string) bool {
	if x.body == nil || x.places.open == 0 || x.salted || !plainToken(salt) {
		return false
	}
	x.salted, x.salt = true, salt
	if m := x.places.cacheSalt; m.Present() {
		x.edit(m.Start, m.End, `"`+salt+`"`)
	} else {
		x.addMember(`"cache_salt":"` + salt + `"`)
	}
	return true
}

func plainToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_') {
			return false
		}
	}
	return s != ""
}

// addMember adds a member before all others.
func (x *Exchange) addMember(member string) {
	if !x.places.empty {
		member += ","
	}
	x.places.empty = false
	x.edit(x.places.open, x.places.open, member)
}

// edit adds an edit to a copy of the list: readers that exist already use the
// old one.
func (x *Exchange) edit(start, end int, text string) {
	edits := append(slices.Clone(x.edits), prompt.Edit{Start: start, End: end, New: []byte(text)})
	slices.SortStableFunc(edits, func(a, b prompt.Edit) int { return a.Start - b.Start })
	x.edits = edits
}
