// SPDX-License-Identifier: Apache-2.0

package pii

// formats are the secrets of vendors that can be told by their prefix. The
// facts are from the vendors' own documentation where they give them, and from
// the public rule sets of secret scanners.
var formats = []format{
	{"anthropic", "sk-ant-api03-", 80, 120, abURL, random},
	{"anthropic admin", "sk-ant-admin01-", 80, 120, abURL, random},
	{"aws access key", "AKIA", 16, 16, abUpper, plain},
	{"aws session", "ASIA", 16, 16, abUpper, plain},
	{"github", "ghp_", 36, 36, abAlnum, random},
	{"github oauth", "gho_", 36, 36, abAlnum, random},
	{"github user", "ghu_", 36, 36, abAlnum, random},
	{"github app", "ghs_", 36, 36, abAlnum, random},
	{"github refresh", "ghr_", 36, 80, abAlnum, random},
	{"github fine-grained", "github_pat_", 22, 100, abWord, random},
	{"gitlab", "glpat-", 20, 64, abURLDot, random},
	{"google api key", "AIza", 35, 35, abURL, random},
	{"hugging face", "hf_", 34, 40, abAlnum, random},
	{"npm", "npm_", 36, 36, abAlnum, random},
	{"openai project", "sk-proj-", 40, 200, abURL, random},
	{"openai", "sk-", 48, 48, abAlnum, random},
	{"slack bot", "xoxb-", 16, 100, abURL, random},
	{"slack user", "xoxp-", 16, 100, abURL, random},
	{"stripe", "sk_live_", 16, 128, abAlnum, random},
	{"stripe restricted", "rk_live_", 16, 128, abAlnum, random},
}
