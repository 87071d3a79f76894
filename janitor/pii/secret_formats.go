// SPDX-License-Identifier: Apache-2.0

package pii

import (
	"bytes"
	"encoding/binary"
	"math/bits"
)

// check is a further condition on the variable part.
type check uint8

const (
	random check = iota // letters and digits mixed: at least one of each
	plain               // nothing more
	dotted              // random, and at least one dot
	mixed               // letters and digits change throughout; for short prefixes
	dashed              // random, and at least one hyphen
	uuid                // 8-4-4-4-12 hexadecimal digits
)

// format is a secret of one vendor.
type format struct {
	vendor   string
	prefix   string // begins at a word boundary, case-sensitive
	min, max int    // length of the variable part
	alpha    alphabet
	check    check
}

// entry is a format with the first bytes of its prefix as one number, which
// rules out most of a bucket at once.
type entry struct {
	format
	mask, head uint32
}

// headOf packs up to four bytes of a prefix and the mask that selects them.
func headOf(prefix string) (mask, head uint32) {
	for i := 0; i < 4 && i < len(prefix); i++ {
		mask |= 0xff << (8 * i)
		head |= uint32(prefix[i]) << (8 * i)
	}
	return mask, head
}

// indexSize is the size of formatIndex. A hash of the first two bytes of a
// prefix leads into bucketed, where formats of one hash lie together.
const indexSize = 1 << 12

func indexHash(a, b byte) int { return (int(a)*67 + int(b)) & (indexSize - 1) }

// formatIndex leads from a hash to the first format of its bucket in bucketed.
var formatIndex, bucketed = func() (index [indexSize]uint16, list []entry) {
	list = append(list, entry{}) // index 0 means none
	buckets := make(map[int][]format)
	for _, f := range formats {
		h := indexHash(f.prefix[0], f.prefix[1])
		buckets[h] = append(buckets[h], f)
	}
	for h := range indexSize {
		if len(buckets[h]) > 0 {
			index[h] = uint16(len(list))
			for _, f := range buckets[h] {
				mask, head := headOf(f.prefix)
				list = append(list, entry{f, mask, head})
			}
			list = append(list, entry{}) // end of bucket
		}
	}
	return index, list
}()

// formatAt returns the end of the longest secret of the table that begins at
// text[p], or p.
func (r *scan) formatAt(p int) int {
	text := r.text
	first := formatIndex[indexHash(text[p], text[p+1])]
	if first == 0 {
		return p
	}
	var four [4]byte
	copy(four[:], text[p:])
	head := binary.LittleEndian.Uint32(four[:])
	best := p
	for k := int(first); bucketed[k].mask != 0; k++ {
		f := &bucketed[k]
		if head&f.mask != f.head {
			continue
		}
		body := p + len(f.prefix)
		if len(text) < body+f.min || string(text[p:body]) != f.prefix {
			continue
		}
		end := r.runEnd(f.alpha, body)
		for end > body && text[end-1] == '.' { // of the sentence
			end--
		}
		if end-body >= f.min && end-body <= f.max && f.holds(text[body:end]) {
			best = max(best, end)
		}
	}
	return best
}

// webhookStart returns the start of the scheme of a webhook's URL, p when none
// stands before text[p].
func webhookStart(text []byte, p int) int {
	for _, scheme := range [...]string{"https://", "http://"} {
		if n := len(scheme); p >= n && string(text[p-n:p]) == scheme {
			return p - n
		}
	}
	return p
}

// isMask reports whether people blank secrets with c.
func isMask(c byte) bool { return c == 'x' || c == 'X' || c == '0' || c == '*' || c == '.' }

// holds reports whether the variable part passes the format's check and is no
// mask such as xxxxxxxx.
func (f *format) holds(body []byte) bool {
	kinds, distinct := contents(body)
	if distinct < 4 && (f.check != plain || isMask(body[0])) {
		return false
	}
	varied := kinds&clsDigit != 0 || distinct > 12
	switch f.check {
	case plain:
		return !bytes.Contains(body, []byte("EXAMPLE"))
	case mixed:
		return looksRandom(body) && digitRuns(body) >= 2
	case dotted:
		return varied && bytes.IndexByte(body, '.') >= 0
	case dashed:
		return varied && bytes.IndexByte(body, '-') >= 0
	case uuid:
		return isGUID(body)
	}
	return kinds&clsDigit != 0 && kinds&clsAlpha != 0 || distinct > 16
}

// contents returns the classes of the bytes of a text, and how many different
// bytes there are.
func contents(text []byte) (kinds uint8, distinct int) {
	var seen [4]uint64
	for _, c := range text {
		seen[c>>6] |= 1 << (c & 63)
		kinds |= class[c]
	}
	for _, s := range seen {
		distinct += bits.OnesCount64(s)
	}
	return kinds, distinct
}

// formats are the secrets of vendors that have a prefix: the prefix, the least
// and most bytes after it, their alphabet, and a further condition. Sources are
// the vendors' own documentation and the public rule sets of secret scanners
// (gitleaks, Nosey Parker, detect-secrets). For secrets without a prefix see
// secret_shapes.go; for those that only a name announces, assignment.go.
//
// A new format is one line. Prefixes begin at a word boundary and have at least
// two bytes; of several that fit, the longest finding counts.
var formats = []format{
	// Models and inference.
	{"anthropic", "sk-ant-api03-", 40, 140, abURL, random},
	{"anthropic admin", "sk-ant-admin01-", 40, 140, abURL, random},
	{"anthropic oauth", "sk-ant-oat01-", 40, 140, abURL, random},
	{"anthropic session", "sk-ant-sid01-", 40, 140, abURL, random},
	{"openai project", "sk-proj-", 40, 220, abURL, random},
	{"openai service account", "sk-svcacct-", 40, 220, abURL, random},
	{"openai admin", "sk-admin-", 40, 220, abURL, random},
	{"openai legacy user", "sk-None-", 40, 220, abURL, random},
	{"openai and compatible", "sk-", 20, 64, abAlnum, random},
	{"openrouter", "sk-or-v1-", 64, 64, abHex, random},
	{"langfuse", "sk-lf-", 36, 36, abURL, random},
	{"langsmith personal", "lsv2_pt_", 32, 80, abWord, random},
	{"langsmith service", "lsv2_sk_", 32, 80, abWord, random},
	{"hugging face", "hf_", 34, 40, abAlnum, random},
	{"hugging face organisation", "api_org_", 34, 40, abAlnum, random},
	{"groq", "gsk_", 48, 56, abAlnum, random},
	{"xai", "xai-", 70, 90, abWord, random},
	{"perplexity", "pplx-", 40, 56, abAlnum, random},
	{"replicate", "r8_", 37, 40, abAlnum, random},
	{"fireworks", "fw_", 22, 24, abAlnum, mixed},
	{"voyage", "pa-", 43, 43, abURL, mixed},
	{"pinecone", "pcsk_", 60, 80, abWord, random},
	{"nvidia", "nvapi-", 60, 70, abURL, random},
	{"elevenlabs", "sk_", 48, 48, abHex, random},
	{"tavily", "tvly-", 28, 48, abURL, random},
	{"firecrawl", "fc-", 32, 32, abHex, random},
	{"jina", "jina_", 50, 70, abAlnum, random},
	{"runpod", "rpa_", 40, 50, abUpper, random},
	{"e2b", "e2b_", 40, 40, abHex, random},
	{"weights and biases", "wandb_v1_", 60, 90, abWord, random},
	{"cerebras", "csk-", 48, 48, abAlnum, random},
	{"together", "tgp_v1_", 43, 44, abURL, random},
	{"llamacloud", "llx-", 48, 52, abAlnum, random},
	{"mem0", "m0-", 40, 40, abAlnum, random},
	{"friendli", "flp_", 40, 60, abAlnum, random},
	{"helicone", "sk-helicone-", 20, 48, abURL, random},
	{"cursor", "key_", 64, 64, abHex, random},
	{"browserbase", "bb_live_", 20, 40, abURL, random},
	{"daytona", "dtn_", 64, 64, abHex, random},

	// Source code and packages.
	{"github personal", "ghp_", 36, 40, abAlnum, random},
	{"github oauth", "gho_", 36, 40, abAlnum, random},
	{"github user to server", "ghu_", 36, 40, abAlnum, random},
	{"github server to server", "ghs_", 36, 40, abAlnum, random},
	{"github refresh", "ghr_", 36, 80, abAlnum, random},
	{"github fine-grained", "github_pat_", 60, 100, abWord, random},
	{"gitlab personal", "glpat-", 20, 300, abURLDot, random},
	{"gitlab deploy", "gldt-", 20, 64, abURL, random},
	{"gitlab runner", "glrt-", 20, 64, abURLDot, random},
	{"gitlab runner registration", "GR1348941", 18, 64, abURL, random},
	{"gitlab pipeline trigger", "glptt-", 20, 64, abURL, random},
	{"gitlab scim", "glsoat-", 20, 64, abURL, random},
	{"gitlab ci job", "glcbt-", 18, 80, abURL, random},
	{"gitlab incoming mail", "glimt-", 20, 64, abURL, random},
	{"gitlab agent", "glagent-", 40, 80, abURL, random},
	{"gitlab feature flags", "glffct-", 20, 64, abURL, random},
	{"gitlab feed", "glft-", 20, 96, abURL, random},
	{"gitlab oauth application", "gloas-", 60, 70, abURL, random},
	{"bitbucket app password", "ATBB", 28, 40, abAlnum, random},
	{"atlassian", "ATATT3", 60, 260, abAny, random},
	{"atlassian access", "ATCTT3", 60, 260, abAny, random},
	{"npm", "npm_", 36, 36, abAlnum, random},
	{"pypi", "pypi-AgE", 50, 1000, abURL, random},
	{"rubygems", "rubygems_", 48, 48, abHex, random},
	{"crates.io", "cio", 32, 32, abAlnum, random},
	{"nuget", "oy2", 43, 43, abAlnum, random},
	{"clojars", "CLOJARS_", 60, 60, abAlnum, random},
	{"docker personal", "dckr_pat_", 24, 40, abURL, random},
	{"docker organisation", "dckr_oat_", 24, 40, abURL, random},
	{"artifactory api key", "AKCp", 60, 80, abAlnum, random},
	{"artifactory reference", "cmVmd", 54, 64, abAlnum, random},
	{"sourcegraph", "sgp_", 40, 100, abWord, random},
	{"sourcegraph access", "slk_", 64, 64, abHex, random},
	{"sonar user", "squ_", 40, 44, abAlnum, random},
	{"sonar project", "sqp_", 40, 44, abAlnum, random},
	{"sonar analysis", "sqa_", 40, 44, abAlnum, random},
	{"circleci personal", "CCIPAT_", 40, 80, abWord, random},
	{"circleci project", "CCIPRJ_", 40, 80, abWord, random},
	{"buildkite", "bkua_", 40, 40, abHex, random},
	{"octopus deploy", "API-", 25, 27, abUpper, random},
	{"harness personal", "pat.", 60, 80, abURLDot, dotted},
	{"harness service", "sat.", 60, 80, abURLDot, dotted},
	{"dependency-track", "odt_", 32, 64, abAlnum, random},
	{"stackhawk", "hawk.", 41, 41, abURLDot, dotted},
	{"snyk", "snyk_uat.", 40, 120, abURLDot, random},
	{"prefect user", "pnu_", 36, 36, abAlnum, random},
	{"prefect server", "pnb_", 36, 36, abAlnum, random},
	{"readme", "rdme_", 70, 72, abAlnum, random},
	{"postman", "PMAK-", 59, 59, abURL, dashed},
	{"pulumi", "pul-", 40, 40, abHex, random},
	{"infracost", "ico-", 32, 32, abAlnum, random},

	// Clouds and hosting.
	{"aws access key", "AKIA", 16, 16, abUpper, plain},
	{"aws temporary key", "ASIA", 16, 16, abUpper, plain},
	{"aws bearer", "ABIA", 16, 16, abUpper, plain},
	{"aws context", "ACCA", 16, 16, abUpper, plain},
	{"aws bedrock", "ABSK", 100, 140, abStd, random},
	{"aws bedrock short-lived", "bedrock-api-key-", 24, 4000, abStd, random},
	{"google api key", "AIza", 33, 35, abURL, random},
	{"google oauth secret", "GOCSPX-", 28, 28, abURL, random},
	{"google oauth access", "ya29.", 40, 400, abURL, random},
	{"google oauth refresh", "1//0", 40, 110, abURL, random},
	{"alibaba", "LTAI", 12, 26, abAlnum, random},
	{"digitalocean personal", "dop_v1_", 64, 64, abHex, random},
	{"digitalocean oauth", "doo_v1_", 64, 64, abHex, random},
	{"digitalocean refresh", "dor_v1_", 64, 64, abHex, random},
	{"aiven", "AVNS_", 19, 19, abURL, random},
	{"render", "rnd_", 28, 40, abAlnum, random},
	{"inngest", "signkey-prod-", 64, 64, abHex, random},
	{"heroku", "HRKU-", 50, 70, abURL, random},
	{"netlify", "nfp_", 36, 44, abAlnum, random},
	{"vercel", "vcp_", 24, 60, abAlnum, random},
	{"fly.io macaroon", "fm1a_", 60, 3000, abStd, random},
	{"fly.io read", "fm1r_", 60, 3000, abStd, random},
	{"fly.io macaroon 2", "fm2_", 60, 3000, abStd, random},
	{"fly.io oauth", "fo1_", 40, 50, abURL, random},
	{"scalingo", "tk-us-", 44, 52, abURL, random},
	{"planetscale token", "pscale_tkn_", 32, 64, abURLDot, random},
	{"planetscale oauth", "pscale_oauth_", 32, 64, abURLDot, random},
	{"planetscale password", "pscale_pw_", 32, 64, abURLDot, random},
	{"supabase personal", "sbp_", 40, 40, abAlnum, random},
	{"supabase secret", "sb_secret_", 24, 48, abURL, random},
	{"neon", "napi_", 60, 70, abAlnum, random},
	{"databricks", "dapi", 32, 34, abURL, random},
	{"mongodb atlas service", "mdb_sa_sk_", 36, 48, abURL, random},
	{"upcloud", "ucat_", 26, 26, abAlnum, random},
	{"yandex iam", "t1.", 90, 260, abAny, random},
	{"yandex api", "AQVN", 35, 39, abURL, random},
	{"yandex s3", "YC", 38, 38, abURL, mixed},
	{"cloudflare origin ca", "v1.0-", 171, 171, abURL, dashed},
	{"tailscale", "tskey-", 18, 80, abURL, random},
	{"defined networking", "dnkey-", 60, 100, abAny, dashed},
	{"openshift", "sha256~", 43, 43, abURL, random},
	{"vault service", "hvs.", 20, 220, abURL, random},
	{"vault batch", "hvb.", 20, 320, abURL, random},
	{"vault recovery", "hvr.", 20, 220, abURL, random},
	{"vault legacy service", "s.", 24, 24, abAlnum, mixed},
	{"vault legacy batch", "b.", 24, 24, abAlnum, mixed},
	{"vault legacy recovery", "r.", 24, 24, abAlnum, mixed},
	{"doppler personal", "dp.pt.", 40, 44, abAlnum, random},
	{"doppler service", "dp.st.", 40, 80, abURLDot, random},
	{"doppler cli", "dp.ct.", 40, 44, abAlnum, random},
	{"doppler service account", "dp.sa.", 40, 44, abAlnum, random},
	{"doppler scim", "dp.scim.", 40, 44, abAlnum, random},
	{"doppler audit", "dp.audit.", 40, 44, abAlnum, random},
	{"1password service", "ops_eyJ", 100, 4000, abStd, random},
	{"1password secret key", "A3-", 32, 38, abURL, dashed},
	{"age", "AGE-SECRET-KEY-1", 58, 58, abUpper, plain},

	// Encoded once more.
	{"jwt in base64", "ZXlK", 60, 8000, abStd, random},
	{"pem key in base64", "LS0tLS1CRUdJTiBQUklWQVRFIEtFWS", 60, 20000, abStd, random},
	{"rsa key in base64", "LS0tLS1CRUdJTiBSU0EgUFJJVkFURSBLRVk", 60, 20000, abStd, random},
	{"ec key in base64", "LS0tLS1CRUdJTiBFQyBQUklWQVRFIEtFWS", 60, 20000, abStd, random},
	{"openssh key in base64", "LS0tLS1CRUdJTiBPUEVOU1NIIFBSSVZBVEUgS0VZ", 60, 20000, abStd, random},

	// Messages.
	{"slack bot", "xoxb-", 16, 120, abURL, random},
	{"slack user", "xoxp-", 16, 120, abURL, random},
	{"slack workspace", "xoxa-", 11, 120, abURL, plain},
	{"slack refresh", "xoxr-", 11, 120, abURL, plain},
	{"slack session", "xoxs-", 16, 120, abURL, random},
	{"slack client", "xoxc-", 16, 200, abURL, random},
	{"slack legacy", "xoxo-", 16, 120, abURL, random},
	{"slack config access", "xoxe.xox", 40, 240, abURL, random},
	{"slack config refresh", "xoxe-", 40, 240, abURL, random},
	{"slack app", "xapp-", 16, 120, abAny, random},
	{"slack webhook", "hooks.slack.com/", 40, 90, abStd, random},
	{"discord webhook", "discord.com/api/webhooks/", 60, 120, abAny, random},
	{"discord webhook old", "discordapp.com/api/webhooks/", 60, 120, abAny, random},
	{"zapier webhook", "hooks.zapier.com/hooks/catch/", 12, 60, abAny, random},
	{"teams webhook", "outlook.office.com/webhook/", 60, 250, abAny, random},
	{"teams incoming webhook", "IncomingWebhook/", 32, 120, abURL, random},
	{"sendgrid", "SG.", 60, 72, abAny, dotted},
	{"sendinblue", "xkeysib-", 81, 81, abURL, dashed},
	{"sendinblue smtp", "xsmtpsib-", 81, 81, abURL, dashed},
	{"mailgun", "key-", 32, 32, abHex, random},
	{"mailgun public", "pubkey-", 32, 32, abHex, random},
	{"twilio key", "SK", 32, 32, abHex, random},
	{"twilio account", "AC", 32, 32, abHex, random},
	{"twitch stream", "live_", 36, 50, abWord, mixed},
	{"resend", "re_", 32, 36, abWord, mixed},
	{"telnyx", "KEY0", 50, 60, abWord, random},

	// Payments and shops.
	{"stripe secret", "sk_live_", 16, 128, abAlnum, random},
	{"stripe test", "sk_test_", 16, 128, abAlnum, random},
	{"stripe production", "sk_prod_", 16, 128, abAlnum, random},
	{"stripe restricted", "rk_live_", 16, 128, abAlnum, random},
	{"stripe restricted test", "rk_test_", 16, 128, abAlnum, random},
	{"stripe restricted production", "rk_prod_", 16, 128, abAlnum, random},
	{"stripe webhook", "whsec_", 24, 64, abStd, random},
	{"courier", "pk_prod_", 24, 36, abUpper, random},
	{"square access", "sq0atp-", 22, 22, abURL, random},
	{"square secret", "sq0csp-", 43, 43, abURL, random},
	{"square token", "EAAA", 56, 64, abURL, random},
	{"facebook", "EAACEdEose0cBA", 20, 300, abAlnum, random},
	{"facebook page", "EAAM", 100, 300, abAlnum, random},
	{"facebook page c", "EAAC", 100, 300, abAlnum, random},
	{"shopify access", "shpat_", 32, 32, abHex, random},
	{"shopify custom", "shpca_", 32, 32, abHex, random},
	{"shopify private", "shppa_", 32, 32, abHex, random},
	{"shopify shared", "shpss_", 32, 32, abHex, random},
	{"shopify partner", "shptka_", 32, 32, abHex, random},
	{"shippo live", "shippo_live_", 40, 40, abHex, random},
	{"shippo test", "shippo_test_", 40, 40, abHex, random},
	{"easypost", "EZAK", 54, 54, abAlnum, random},
	{"easypost test", "EZTK", 54, 54, abAlnum, random},
	{"duffel test", "duffel_test_", 40, 44, abAny, random},
	{"duffel live", "duffel_live_", 40, 44, abAny, random},
	{"flutterwave secret", "FLWSECK", 16, 60, abURL, random},
	{"flutterwave public", "FLWPUBK", 16, 60, abURL, random},
	{"gocardless", "live_", 40, 40, abAny, mixed},
	{"lob live", "live_", 35, 35, abHex, random},
	{"lob test", "test_", 35, 35, abHex, random},
	{"lob public", "test_pub_", 31, 31, abHex, random},
	{"plaid sandbox", "access-sandbox-", 36, 36, abURL, dashed},
	{"plaid development", "access-development-", 36, 36, abURL, dashed},
	{"plaid production", "access-production-", 36, 36, abURL, dashed},
	{"razorpay", "rzp_live_", 14, 14, abAlnum, plain},
	{"pagarme", "ak_live_", 30, 30, abAlnum, random},
	{"paddle", "pdl_live_apikey_", 40, 80, abWord, random},

	// Observing.
	{"new relic user", "NRAK-", 24, 32, abAlnum, random},
	{"new relic browser", "NRJS-", 19, 19, abHex, random},
	{"new relic insert", "NRII-", 32, 32, abURL, random},
	{"new relic query", "NRIQ-", 32, 32, abURL, random},
	{"new relic admin", "NRAA-", 27, 27, abHex, random},
	{"new relic rest", "NRRA-", 42, 42, abHex, random},
	{"grafana cloud", "glc_", 32, 400, abStd, random},
	{"grafana service account", "glsa_", 41, 41, abWord, random},
	{"grafana api", "eyJrIjoi", 60, 400, abStd, random},
	{"sentry organisation", "sntrys_", 60, 260, abAny, random},
	{"sentry user", "sntryu_", 64, 64, abHex, random},
	{"dynatrace", "dt0c01.", 80, 100, abURLDot, dotted},
	{"datadog application", "ddapp_", 30, 40, abAlnum, random},
	{"posthog personal", "phx_", 40, 52, abWord, random},
	{"posthog project", "phc_", 40, 48, abAlnum, random},
	{"pixie", "px-api-", 36, 36, abURL, dashed},
	{"pixie deploy", "px-dep-", 36, 36, abURL, dashed},
	{"axiom", "xaat-", 36, 36, abURL, dashed},
	{"axiom personal", "xapt-", 36, 36, abURL, dashed},
	{"statsig", "secret-", 40, 52, abAlnum, random},
	{"honeycomb ingest", "hcaik_", 58, 58, abAlnum, random},
	{"honeycomb classic ingest", "hcaic_", 58, 58, abAlnum, random},
	{"honeycomb europe", "hcbik_", 58, 58, abAlnum, random},
	{"honeycomb management", "hcamk_", 58, 58, abAlnum, random},
	{"launchdarkly sdk", "sdk-", 36, 36, abURL, uuid},
	{"launchdarkly api", "api-", 36, 36, abURL, uuid},

	// Work.
	{"airtable", "pat", 79, 79, abURLDot, dotted},
	{"adafruit io", "aio_", 26, 32, abAlnum, random},
	{"adobe", "p8e-", 32, 32, abHex, random},
	{"adobe oauth", "p8", 32, 32, abURL, dashed},
	{"apify", "apify_api_", 32, 40, abAlnum, random},
	{"authress service", "sc_", 50, 100, abURLDot, mixed},
	{"beamer", "b_", 44, 44, abAny, mixed},
	{"clickhouse cloud", "4b1d", 38, 38, abAlnum, random},
	{"clickup", "pk_", 33, 46, abWord, mixed},
	{"contentful", "CFPAT-", 43, 43, abURL, random},
	{"dropbox", "sl.", 60, 1500, abURL, mixed},
	{"dropbox user", "sl.u.", 60, 1500, abURL, mixed},
	{"dbt cloud", "dbtc_", 40, 60, abURL, random},
	{"dbt user", "dbtu_", 40, 60, abURL, random},
	{"dfuse web", "web_", 32, 32, abHex, mixed},
	{"dfuse server", "server_", 32, 32, abHex, mixed},
	{"figma", "figd_", 36, 60, abURL, random},
	{"flexport", "shltm_", 40, 40, abURL, random},
	{"frame.io", "fio-u-", 60, 70, abAny, random},
	{"gitter", "pc_", 38, 38, abURL, mixed},
	{"hubspot", "pat-na1-", 36, 36, abURL, dashed},
	{"hubspot europe", "pat-eu1-", 36, 36, abURL, dashed},
	{"intra42", "s-s4t2", 66, 68, abURL, random},
	{"ionic", "ion_", 42, 42, abAlnum, random},
	{"linear", "lin_api_", 40, 40, abAlnum, random},
	{"linear oauth", "lin_oauth_", 40, 64, abAlnum, random},
	{"mailsac", "k_", 44, 60, abAlnum, mixed},
	{"mapbox secret", "sk.eyJ", 50, 300, abURLDot, dotted},
	{"mapbox public", "pk.eyJ", 50, 300, abURLDot, dotted},
	{"mapbox temporary", "tk.eyJ", 50, 300, abURLDot, dotted},
	{"nightfall", "NF-", 32, 32, abAlnum, random},
	{"notion", "ntn_", 40, 50, abAlnum, random},
	{"notion legacy", "secret_", 43, 43, abAlnum, random},
	{"onfido", "api_live.", 40, 80, abURLDot, random},
	{"pubnub publish", "pub-c-", 36, 36, abURL, dashed},
	{"pubnub secret", "sec-c-", 40, 80, abURL, random},
	{"settlemint application", "sm_aat_", 16, 16, abAlnum, random},
	{"settlemint personal", "sm_pat_", 16, 16, abAlnum, random},
	{"settlemint service", "sm_sat_", 16, 16, abAlnum, random},
	{"storecove", "storecove_", 40, 50, abAlnum, plain},
	{"teamwork", "tkn.v1_", 60, 84, abStd, random},
	{"tickettailor", "sk_", 36, 48, abWord, mixed},
	{"typeform", "tfp_", 40, 64, abURL, random},
	{"voiceflow", "VF.DM.", 41, 41, abURLDot, dotted},
	{"wakatime", "waka_", 36, 36, abURL, dashed},
	{"zoho", "1000.", 65, 65, abURLDot, dotted},
	{"zuplo", "zpka_", 40, 48, abWord, random},
}
