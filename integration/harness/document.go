// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"os"
	"strings"
	"testing"
)

// CodeBlock is a fenced code block of a document.
type CodeBlock struct{ Language, Text string }

// CodeBlocks returns the fenced code blocks of a Markdown text.
func CodeBlocks(markdown string) (all []CodeBlock) {
	var open *CodeBlock
	for _, line := range strings.SplitAfter(markdown, "\n") {
		mark, isMark := strings.CutPrefix(strings.TrimRight(line, "\n"), "```")
		switch {
		case isMark && open == nil:
			open = &CodeBlock{Language: mark}
		case isMark:
			all = append(all, *open)
			open = nil
		case open != nil:
			open.Text += line
		}
	}
	return all
}

// ReadmeCaddyfile returns the first Caddyfile under a heading of the README.
func ReadmeCaddyfile(t testing.TB, heading string) string {
	t.Helper()
	raw, err := os.ReadFile(Root + "/README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, found := strings.Cut(string(raw), "\n## "+heading+"\n")
	if !found {
		t.Fatalf("the README has no section %q", heading)
	}
	section, _, _ = strings.Cut(section, "\n## ")
	for _, block := range CodeBlocks(section) {
		if block.Language == "caddyfile" {
			return block.Text
		}
	}
	t.Fatalf("the README's section %q shows no Caddyfile", heading)
	return ""
}
