// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"cmp"
	"encoding/json"
	"errors"
	"io"
	"math"
	"math/rand/v2"
	"time"
)

// Format is the format of a trace.
type Format string

const (
	// Auto takes the format from the first line.
	Auto Format = "auto"
	// Mooncake is JSON lines of {timestamp, input_length, output_length,
	// hash_ids}: milliseconds, tokens, and one id per prompt block, which stands
	// for the prompt up to the block's end (FAST'25 artifact).
	Mooncake Format = "mooncake"
	// Text is JSON lines of {timestamp, input, output, session_id}.
	Text Format = "text"
	// Bodies is JSON lines of OpenAI or Anthropic request bodies, bare or in
	// {timestamp, path, body, output_tokens}.
	Bodies Format = "bodies"
)

// ReadOptions control how Read parses a trace. Zero values are the defaults.
type ReadOptions struct {
	Format Format // default Auto
	// BlockTokens is the block size of a Mooncake trace in tokens; default 512.
	BlockTokens int
	// BlockBytes is the block size of text in bytes; a block has BlockBytes/4
	// tokens. Default 256, as in the gateway.
	BlockBytes int
	// TimeUnit is the unit of timestamps. The default follows from their size;
	// for small ones it is milliseconds in Mooncake traces, microseconds in
	// text, seconds in logs of bodies.
	TimeUnit time.Duration
	// Rate is the requests per second of a log without times; default 1.
	Rate float64
	// Seed is the seed of arrivals at that rate.
	Seed uint64
}

const bytesPerToken = 4

// Bounds of the numbers in a trace.
const (
	maxTokens    = 10_000_000
	maxBlockSize = 1 << 20
	maxSpan      = 10 * 365 * 24 * time.Hour
)

var (
	errJSON      = errors.New("not a JSON object with the fields of its format")
	errFormat    = errors.New("unknown format: want a Mooncake trace, {timestamp, input, output} texts or request bodies")
	errTime      = errors.New("timestamp: want a number, within ten years of the first")
	errMixed     = errors.New("a request without a timestamp among others that have one, or the other way round")
	errTokens    = errors.New("token counts: want an input of 1 to 10,000,000 and an output of 0 to 10,000,000")
	errHashes    = errors.New("more hash_ids than the prompt has blocks: is the block size another one?")
	errBody      = errors.New("not a request body that an engine would take as one prompt")
	errBlockSize = errors.New("block size: want 1 to 1048576")
	errRate      = errors.New("rate: want more than 0, at most 1000000 requests a second")
	errTimeUnit  = errors.New("time unit: want a positive duration")
)

func (o *ReadOptions) validate() error {
	if o.Format == "" {
		o.Format = Auto
	}
	if o.BlockTokens == 0 {
		o.BlockTokens = 512
	}
	if o.BlockBytes == 0 {
		o.BlockBytes = 256
	}
	if o.Rate == 0 {
		o.Rate = 1
	}
	switch {
	case o.BlockTokens < 1 || o.BlockTokens > maxBlockSize || o.BlockBytes < bytesPerToken || o.BlockBytes > maxBlockSize:
		return errBlockSize
	case !(o.Rate > 0 && o.Rate <= maxSpeed):
		return errRate
	case o.TimeUnit < 0:
		return errTimeUnit
	}
	switch o.Format {
	case Auto, Mooncake, Text, Bodies:
		return nil
	}
	return errFormat
}

// traceReader parses lines into requests.
type traceReader struct {
	options ReadOptions
	parse   func(line []byte) (Request, *json.Number, error)
	trace   Trace
	blocks  int
	unit    float64 // ns
	origin  float64
	timed   bool
}

// Read reads a trace. Rows that are no usable request are skipped and counted in
// Trace.Skipped; without any other the first of them is the error. Errors name the line
// that is wrong, never its content.
func Read(r io.Reader, o ReadOptions) (*Trace, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	l, err := newLineReader(r)
	if err != nil {
		return nil, err
	}
	rd := &traceReader{options: o, unit: float64(o.TimeUnit)}
	for {
		line, err := l.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		err = rd.add(line)
		switch {
		case err == nil:
		case unusable(err):
			rd.trace.Skipped.add(l.fail(err))
		default:
			return nil, l.fail(err)
		}
	}
	if len(rd.trace.Requests) == 0 {
		return nil, cmp.Or(rd.trace.Skipped.First, errEmpty)
	}
	if !rd.timed {
		rd.makeArrivals()
	}
	rd.trace.finish()
	return &rd.trace, nil
}

// unusable reports whether an error is about one row. The others are about the whole
// trace, such as another block size than the one assumed.
func unusable(err error) bool {
	return errors.Is(err, errTokens) || errors.Is(err, errBody) || errors.Is(err, errJSON) || errors.Is(err, errFormat)
}

func (rd *traceReader) add(line []byte) error {
	if rd.parse == nil {
		if err := rd.chooseFormat(line); err != nil {
			return err
		}
	}
	req, stamp, err := rd.parse(line)
	if err != nil {
		return err
	}
	if err := rd.setArrival(&req, stamp); err != nil {
		return err
	}
	rd.blocks += len(req.Chain)
	if len(rd.trace.Requests) >= maxRequests {
		return errRequests
	}
	if rd.blocks > maxBlocks {
		return errBlocks
	}
	rd.trace.Requests = append(rd.trace.Requests, req)
	return nil
}

// chooseFormat sets the parser; with Auto, by the members of the first line.
func (rd *traceReader) chooseFormat(line []byte) error {
	format := rd.options.Format
	if format == Auto {
		var members map[string]json.RawMessage
		if json.Unmarshal(line, &members) != nil {
			return errJSON
		}
		has := func(name string) bool { _, ok := members[name]; return ok }
		switch {
		case has("hash_ids"):
			format = Mooncake
		case has("body") || has("messages") || has("prompt") || has("model"):
			format = Bodies
		case has("input"):
			format = Text
		default:
			return errFormat
		}
	}
	switch format {
	case Mooncake:
		rd.trace.BlockTokens = rd.options.BlockTokens
		rd.parse = rd.mooncake
	case Text:
		rd.trace.BlockTokens = rd.options.BlockBytes / bytesPerToken
		rd.parse = rd.text
	default:
		rd.trace.BlockTokens = rd.options.BlockBytes / bytesPerToken
		rd.parse = newBodyParser(&rd.options).parse
	}
	rd.options.Format = format
	return nil
}

// setArrival sets a request's arrival, relative to the first timestamp.
func (rd *traceReader) setArrival(req *Request, stamp *json.Number) error {
	first := len(rd.trace.Requests) == 0
	if first {
		rd.timed = stamp != nil
	}
	if rd.timed != (stamp != nil) {
		return errMixed
	}
	if stamp == nil {
		return nil
	}
	v, err := stamp.Float64()
	if err != nil || math.IsNaN(v) || math.IsInf(v, 0) {
		return errTime
	}
	if first {
		if rd.origin = v; rd.unit == 0 {
			rd.unit = float64(unitOf(v, rd.options.Format))
		}
	}
	ns := (v - rd.origin) * rd.unit
	if math.Abs(ns) > float64(maxSpan) {
		return errTime
	}
	req.At = time.Duration(ns)
	return nil
}

// unitOf returns the unit of a timestamp: by its size if it counts from 1970,
// otherwise the format's usual one.
func unitOf(v float64, f Format) time.Duration {
	switch {
	case v >= 1e17:
		return time.Nanosecond
	case v >= 1e14:
		return time.Microsecond
	case v >= 1e11:
		return time.Millisecond
	case v >= 1e9 || f == Bodies:
		return time.Second
	case f == Text:
		return time.Microsecond
	}
	return time.Millisecond
}

// makeArrivals draws the arrivals of a Poisson process.
func (rd *traceReader) makeArrivals() {
	rnd := rand.New(rand.NewPCG(rd.options.Seed, 3))
	var at float64
	for i := range rd.trace.Requests {
		rd.trace.Requests[i].At = time.Duration(min(at*1e9, float64(maxSpan)))
		at += rnd.ExpFloat64() / rd.options.Rate
	}
}
