// SPDX-License-Identifier: Apache-2.0

package pii

import (
	"net/netip"
)

// EntityIP labels IPv4 and IPv6 addresses.
const EntityIP Entity = "IP"

var ip = builtin{
	name:   "ip",
	entity: EntityIP,
	doc:    "IPv4 and IPv6 addresses that are public unicast (IANA special-purpose registries); versions, section numbers, object identifiers and documentation ranges are not taken.",
	words: topic("ip ips ipv4 ipv6 host address addr server client remote peer dns resolver nameserver gateway ping traceroute ssh whois "+
		"connect connecting connected", "地址 服务器"),
	match: []string{
		"from «81.2.69.142» port 22",
		"[«2001:4860:4860::8888»]:53",
	},
	noMatch: []string{
		"section 5.2.1.3, OID 2.5.4.10",
		"Chrome/81.2.69.142",
		"std::vector a::b 12:34:56",
		"10.0.0.1 and 192.0.2.1",
	},
}

// fromWords introduce the source of a connection or a version.
var fromWords = topic("from")

// versionWords announce a version or a section.
var versionWords = topic("version versions ver v release released rev revision build firmware driver section sections sec chapter clause appendix "+
	"paragraph annex oid table figure rfc upgrade upgraded chrome firefox safari edge opera", "版本")

// updateWords are those of change logs, where numbers are versions.
var updateWords = topic("upgrade upgraded upgrades upgrading update updated updates updating bump bumps bumped downgrade downgraded deps " +
	"changelog")

// addAddress records the address if recognizers of its kind are on.
func (r *scan) addAddress(start, end int, a netip.Addr) {
	kind := &ipPrivate
	if public(a) {
		kind = &ip
	}
	if r.finds(kind) {
		r.add(start, end, EntityIP)
	}
}
