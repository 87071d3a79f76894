// SPDX-License-Identifier: Apache-2.0

package commands

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/bauxite/caddy-kvaware/janitor/pii"
)

// maxLine bounds one line of pii-scan's input in bytes, like pii_janitor's default
// limit of a body.
const maxLine = 32_000_000

var errLongLine = fmt.Errorf("is longer than %s", humanize.Bytes(maxLine))

func init() {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:  "pii-scan",
		Usage: "[--json] [FILE]",
		Short: "Finds PII and secrets in text, as pii_janitor does with its defaults",
		Long: `
Reads one text per line from FILE, or from standard input, and prints the
findings: entities and byte offsets, the end exclusive, but never a value. With
--json it prints one object for each line:

  {"line":1,"spans":[{"entity":"EMAIL","start":3,"end":20}]}

--list shows the recognizers instead: name, entity, whether pii_janitor uses it
by default, and what it finds.`,
		CobraFunc: func(cmd *cobra.Command) {
			asJSON := cmd.Flags().Bool("json", false, "print one JSON object for each line")
			list := cmd.Flags().Bool("list", false, "list the recognizers")
			cmd.Args = cobra.MaximumNArgs(1)
			cmd.RunE = func(cmd *cobra.Command, args []string) error {
				if *list {
					return listRecognizers(cmd.OutOrStdout())
				}
				in, size := cmd.InOrStdin(), int64(0)
				if len(args) == 1 && args[0] != "-" {
					file, err := os.Open(args[0])
					if err != nil {
						return err
					}
					defer file.Close()
					if info, err := file.Stat(); err == nil {
						size = info.Size()
					}
					in = file
				}
				s := scan{in: in, size: size, out: cmd.OutOrStdout(), json: *asJSON, messages: cmd.ErrOrStderr(), showProgress: isTerminal(os.Stderr)}
				return s.run()
			}
		},
	})
}

// listRecognizers prints the built-in recognizers.
func listRecognizers(out io.Writer) error {
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "NAME\tENTITY\tDEFAULT\tFINDS")
	for _, r := range pii.List() {
		on := "off"
		if r.Default {
			on = "on"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", r.Name, r.Entity, on, strings.Join(strings.Fields(r.Doc), " "))
	}
	return t.Flush()
}

// scan is one run of pii-scan. Its memory grows only with the longest line.
type scan struct {
	in           io.Reader
	size         int64 // of the input in bytes, 0 if unknown
	out          io.Writer
	json         bool
	messages     io.Writer // progress and summary
	showProgress bool      // notes is a terminal: show progress

	lines, read int64
	found       map[pii.Entity]int64
	shown       int64 // bytes read when progress was last shown
}

func (s *scan) run() error {
	scanner, err := pii.New(pii.Options{})
	if err != nil {
		return err
	}
	s.found = make(map[pii.Entity]int64)
	in := bufio.NewReaderSize(s.in, 1<<20)
	out := bufio.NewWriterSize(s.out, 1<<16)
	var line, row []byte
	var spans []pii.Span
	for {
		line, err = readLine(in, line[:0])
		if errors.Is(err, io.EOF) && len(line) == 0 {
			break
		}
		s.lines++
		if err != nil && !errors.Is(err, io.EOF) {
			return errors.Join(fmt.Errorf("line %d: %w", s.lines, err), out.Flush())
		}
		s.read += int64(len(line))
		text := bytes.TrimSuffix(bytes.TrimSuffix(line, []byte("\n")), []byte("\r"))
		spans = scanner.Scan(text, spans[:0])
		for _, span := range spans {
			s.found[span.Entity]++
		}
		if row = s.row(row[:0], spans); len(row) > 0 {
			if _, err := out.Write(row); err != nil {
				return err
			}
		}
		s.progress()
		if in.Buffered() == 0 { // a person who types, or follows a log, reads along
			if err := out.Flush(); err != nil {
				return err
			}
		}
	}
	if s.showProgress {
		fmt.Fprint(s.messages, "\r\033[K") // clear it: findings may go to the same terminal
	}
	if err := out.Flush(); err != nil {
		return err
	}
	s.summary()
	return nil
}

// readLine appends one line to dst, with its end.
func readLine(in *bufio.Reader, dst []byte) ([]byte, error) {
	for {
		part, err := in.ReadSlice('\n')
		dst = append(dst, part...)
		if len(dst) > maxLine {
			return dst, errLongLine
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return dst, err
		}
	}
}

// row appends the findings in one line: one JSON object for each line, or text for
// lines with findings only.
func (s *scan) row(dst []byte, spans []pii.Span) []byte {
	if s.json {
		dst = append(dst, `{"line":`...)
		dst = strconv.AppendInt(dst, s.lines, 10)
		dst = append(dst, `,"spans":[`...)
		for i, span := range spans {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = append(dst, `{"entity":"`...)
			dst = append(dst, span.Entity...)
			dst = append(dst, `","start":`...)
			dst = strconv.AppendInt(dst, int64(span.Start), 10)
			dst = append(dst, `,"end":`...)
			dst = strconv.AppendInt(dst, int64(span.End), 10)
			dst = append(dst, '}')
		}
		return append(dst, "]}\n"...)
	}
	for i, span := range spans {
		if i == 0 {
			dst = strconv.AppendInt(dst, s.lines, 10)
			dst = append(dst, ':')
		}
		dst = append(dst, ' ')
		dst = append(dst, span.Entity...)
		dst = append(dst, ' ')
		dst = strconv.AppendInt(dst, int64(span.Start), 10)
		dst = append(dst, '-')
		dst = strconv.AppendInt(dst, int64(span.End), 10)
		if i == len(spans)-1 {
			dst = append(dst, '\n')
		}
	}
	return dst
}

// progress redraws the progress bar after every 8 MB.
func (s *scan) progress() {
	if !s.showProgress || s.read-s.shown < 8<<20 {
		return
	}
	s.shown = s.read
	if s.size <= 0 {
		fmt.Fprintf(s.messages, "\r\033[K%s", humanize.Bytes(uint64(s.read)))
		return
	}
	const width = 40
	done := int(min(s.read, s.size) * width / s.size)
	fmt.Fprintf(s.messages, "\r\033[K[%s%s] %3d %% of %s", strings.Repeat("=", done), strings.Repeat(" ", width-done),
		min(s.read, s.size)*100/s.size, humanize.Bytes(uint64(s.size)))
}

// summary prints the number of findings of each entity.
func (s *scan) summary() {
	if s.json {
		return
	}
	fmt.Fprintf(s.messages, "%d lines, %s", s.lines, humanize.Bytes(uint64(s.read)))
	for _, entity := range slices.Sorted(maps.Keys(s.found)) {
		fmt.Fprintf(s.messages, ", %s %d", entity, s.found[entity])
	}
	fmt.Fprintln(s.messages)
}
