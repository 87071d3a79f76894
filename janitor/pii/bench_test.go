// SPDX-License-Identifier: Apache-2.0

package pii

import (
	"encoding/base64"
	"fmt"
	"go/build"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// shapeSize is the size of each benchmark text.
const shapeSize = 1 << 20

// shape is one kind of text; the scanner must be fast on each.
type shape struct {
	name string
	make func(size int) []byte
}

// repeated makes texts of one string over and over.
func repeated(s string) func(int) []byte {
	return func(size int) []byte {
		return []byte(strings.Repeat(s, size/len(s)+1)[:size])
	}
}

// vocabulary holds the words of generated prose.
var vocabulary = strings.Fields(`the a of to and in is that for it with as was on are by this be from at which or an can when
	cache memory request server prompt token model prefix block upstream response latency throughput scheduling queue
	because therefore however although between through without against performance implementation configuration
	distributed consistency algorithm measured reported increased evaluation considerable understanding`)

// prose is technical English: sentences, commas, a few numbers, paragraphs.
func prose(size int) []byte { return text(size, 0) }

// prosePII is prose with findings in one of a hundred words.
func prosePII(size int) []byte { return text(size, 100) }

func text(size, every int) []byte {
	rnd := rand.New(rand.NewPCG(1, 2))
	values := []string{"ann.smith@example.org", "4012888888881881", "(415) 555-0132", "81.2.69.142", "078-05-1123",
		"GB82 WEST 1234 5698 7654 32", "gh" + "p_wWPw5k4aXcaT4fNP0UcnZwJUVFk6LO0pINUx"}
	b := make([]byte, 0, size+64)
	for n := 0; len(b) < size; n++ {
		switch {
		case every > 0 && n%every == every-1:
			b = append(b, values[rnd.IntN(len(values))]...)
		case n%57 == 56:
			b = fmt.Appendf(b, "%d", rnd.IntN(4000))
		case n%91 == 90:
			b = fmt.Appendf(b, "%.2f", rnd.Float64()*100)
		default:
			b = append(b, vocabulary[rnd.IntN(len(vocabulary))]...)
		}
		switch n % 13 {
		case 6:
			b = append(b, ", "...)
		case 12:
			b = append(b, ". "...)
		default:
			b = append(b, ' ')
		}
		if n%130 == 129 {
			b = append(b, "\n\n"...)
		}
	}
	return b[:size]
}

// sourceCode is Go code of the standard library.
func sourceCode(size int) []byte {
	var b []byte
	for _, pattern := range []string{"net/http/*.go", "encoding/*/*.go", "go/*/*.go"} {
		files, _ := filepath.Glob(filepath.Join(build.Default.GOROOT, "src", pattern))
		for _, f := range files {
			if strings.HasSuffix(f, "_test.go") {
				continue
			}
			data, err := os.ReadFile(f)
			if err == nil {
				b = append(b, data...)
			}
		}
	}
	for len(b) > 0 && len(b) < size {
		b = append(b, b...)
	}
	return b[:min(size, len(b))]
}

// logs are access logs and structured logs of a server.
func logs(size int) []byte {
	rnd := rand.New(rand.NewPCG(3, 4))
	var b []byte
	for len(b) < size {
		ts := 1767225600 + rnd.IntN(10000000)
		switch rnd.IntN(3) {
		case 0:
			b = fmt.Appendf(b, `{"level":"info","ts":%d.%07d,"logger":"http.log.access","msg":"handled request","bytes_read":%d,"duration":%.9f,"size":%d,"status":200}`+"\n",
				ts, rnd.IntN(10000000), rnd.IntN(100000), rnd.Float64(), rnd.IntN(100000))
		case 1:
			b = fmt.Appendf(b, "10.0.%d.%d - - [%02d/Nov/2026:%02d:%02d:%02d +0000] \"GET /v1/models/%08x HTTP/1.1\" 200 %d \"-\" \"curl/8.5.0\"\n",
				rnd.IntN(256), rnd.IntN(256), 1+rnd.IntN(28), rnd.IntN(24), rnd.IntN(60), rnd.IntN(60), rnd.Uint32(), rnd.IntN(100000))
		default:
			b = fmt.Appendf(b, "2026-11-%02dT%02d:%02d:%02d.%06dZ INFO engine.py:%d] Avg prompt throughput: %.1f tokens/s, Running: %d reqs, req_id=%016x\n",
				1+rnd.IntN(28), rnd.IntN(24), rnd.IntN(60), rnd.IntN(60), rnd.IntN(1000000), rnd.IntN(1000), rnd.Float64()*10000, rnd.IntN(64), rnd.Uint64())
		}
	}
	return b[:size]
}

// table is CSV with mostly numeric columns.
func table(size int) []byte {
	rnd := rand.New(rand.NewPCG(5, 6))
	b := []byte("id,price,quantity,ratio,stamp,code\n")
	for n := 0; len(b) < size; n++ {
		b = fmt.Appendf(b, "%d,%.2f,%d,%.6f,2026-%02d-%02d %02d:%02d:%02d,%d\n", 100000+n, rnd.Float64()*1000, rnd.IntN(500), rnd.Float64(),
			1+rnd.IntN(12), 1+rnd.IntN(28), rnd.IntN(24), rnd.IntN(60), rnd.IntN(60), rnd.IntN(1000000))
	}
	return b[:size]
}

// encoded is base64 in lines of 76.
func encoded(size int) []byte {
	line := oneToken(size)
	var b []byte
	for len(line) > 76 && len(b) < size {
		b = append(append(b, line[:76]...), '\n')
		line = line[76:]
	}
	return b
}

// oneToken is base64 without a break.
func oneToken(size int) []byte {
	rnd := rand.New(rand.NewPCG(7, 8))
	raw := make([]byte, size*3/4+3)
	for i := range raw {
		raw[i] = byte(rnd.Uint32())
	}
	return []byte(base64.StdEncoding.EncodeToString(raw))[:size]
}

// chinese is running text of three-byte runes with full-width punctuation.
func chinese(size int) []byte {
	return repeated("人工智能模型的缓存命中率取决于提示的前缀，因此路由很重要。系统会记录每个节点保存了哪些内容、多长时间。")(size)
}

// normal are everyday texts; hostile are built to make a scanner slow.
var normal = []shape{
	{"prose", prose}, {"prose-1%-pii", prosePII}, {"source", sourceCode}, {"logs", logs}, {"csv", table},
	{"base64", encoded}, {"chinese", chinese},
}

var hostile = []shape{
	{"digits", repeated("1")}, {"random-digits", func(n int) []byte {
		rnd := rand.New(rand.NewPCG(9, 9))
		b := make([]byte, n)
		for i := range b {
			b[i] = byte('0' + rnd.IntN(10))
		}
		return b
	}},
	{"1-colon", repeated("1:")}, {"iban", repeated("GB82 WEST ")}, {"at", repeated("@")},
	{"a-dot", repeated("a.")}, {"token", oneToken}, {"nesting", repeated(`{"a":[`)}, {"backslashes", repeated(`\`)},
	{"zero-width", repeated("\u200b")}, {"zero-width-digits", repeated("1\u200b")}, {"full-width", repeated("１２")},
	{"sk", repeated("sk-")}, {"eyJ", repeated("eyJ.")}, {"a-at", repeated("a@b.co ")}, {"a-at-a", repeated("a@")},
	{"url-at", repeated("://a:b@")}, {"pem", repeated("-----BEGIN RSA PRIVATE KEY-----")}, {"password", repeated("password=")},
	{"plus", repeated("+1 ")}, {"groups", repeated("12 ")}, {"dots", repeated("1.")}, {"nines", repeated("123456789 ")},
	{"fours", repeated("4111 ")}, {"phone-words", repeated("call 1 ")}, {"percent", repeated("%40")}, {"colon", repeated(":")},
	{"quotes", repeated(`"`)}, {"key", repeated(`key:"`)}, {"hex-colons", repeated("ab:")}, {"gh", repeated("gh" + "p_")},
	{"long-local", repeated("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa@")},
	{"brackets", repeated("[A")}, {"minus", repeated("1-")}, {"equals", repeated("=")}, {"placeholders", repeated("[A_1] 1234567 ")},

	// The slowest of BenchmarkPairs, and those that were slow once.
	{"arabic-mail", repeated("٤a@b.co ")}, {"arabic-at", repeated("٤a@")}, {"mac-full-width-at", repeated("＠0012.3456.789a ")},
	{"mac-colon", repeated("：0012.3456.789a ")}, {"ethereum", repeated(ethereum)}, {"ethereum-wrong", repeated(ethereum[:41] + "e ")},
	{"ethereum-full-width-at", repeated(ethereum[:42] + "＠")}, {"ethereum-mac", repeated(ethereum[:41] + "e 0012.3456.789a ")},
	{"slash-zeros", repeated("/00")}, {"slash-ones", repeated("1/")}, {"entra", repeated("1Q~")},
	{"url-of-one-letter", repeated("://a:b@0x")}, {"bitcoin-wrong", repeated("1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN3 ")},
	{"full-width-password", repeated("１password=")}, {"full-width-ip", repeated("１2001:")},
	{"passwords", repeated(strings.Repeat("password=", 23) + ",")}, {"authorization", repeated("authorization:")},
	{"placeholder-at", repeated("@[A_1]")},
}

// ethereum is an example of EIP-55.
const ethereum = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed "

// cpuTime is the processor time of this process, user and system: on a busy
// machine the elapsed time measures the neighbours.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func BenchmarkScan(b *testing.B) {
	s := scanner(b, Options{})
	for _, group := range [][]shape{normal, hostile} {
		for _, sh := range group {
			b.Run(sh.name, func(b *testing.B) {
				text := sh.make(shapeSize)
				if len(text) == 0 {
					b.Skip("no text of this shape here")
				}
				dst := s.Scan(text, nil)
				b.SetBytes(int64(len(text)))
				b.ReportAllocs()
				start := cpuTime()
				for b.Loop() {
					dst = s.Scan(text, dst[:0])
				}
				spent := cpuTime() - start
				b.ReportMetric(float64(b.N)*float64(len(text))/1e6/spent.Seconds(), "MB/cpu-s")
			})
		}
	}
}

// BenchmarkLinearity reports, for each hostile shape, the time for four times
// the text divided by the time for the text: about 4 when the work is linear.
func BenchmarkLinearity(b *testing.B) {
	s := scanner(b, Options{})
	for _, sh := range hostile {
		b.Run(sh.name, func(b *testing.B) {
			one, four := sh.make(shapeSize/4), sh.make(shapeSize)
			var dst []Span
			var spent [2]time.Duration
			for b.Loop() {
				for k, text := range [][]byte{one, four} {
					start := cpuTime()
					dst = s.Scan(text, dst[:0])
					spent[k] += cpuTime() - start
				}
			}
			b.ReportMetric(float64(spent[1])/float64(spent[0]), "t(4n)/t(n)")
		})
	}
}
