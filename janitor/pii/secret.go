// SPDX-License-Identifier: Apache-2.0

package pii

// EntitySecret labels credentials of every kind without a label of its own.
const EntitySecret Entity = "SECRET"

var secret = builtin{
	name:   "secret",
	entity: EntitySecret,
	rank:   -4,
	doc:    "API keys and tokens of vendors by prefix, length and alphabet (see the table of formats).",
	match: []string{
		"use «gh" + "p_wWPw5k4aXcaT4fNP0UcnZwJUVFk6LO0pINUx» now",
		"bot «7213808860:" + "AAH1bjqpKKW3maRSPAxzIU-0v6xNuq2-NjM»",
	},
	noMatch: []string{
		"xgh" + "p_wWPw5k4aXcaT4fNP0UcnZwJUVFk6LO0pINUx",
		"gh" + "p_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
	},
}
