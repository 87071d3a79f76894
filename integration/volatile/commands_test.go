// SPDX-License-Identifier: Apache-2.0

//go:build linux && !race

package volatile

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bauxite/caddy-kvaware/integration/harness"
	"github.com/bauxite/caddy-kvaware/internal/sim/enginesim"
)

// tracedCommand runs a command of the binary under strace, in an empty
// directory. It returns the output, and the calls that write to the disk.
func tracedCommand(t *testing.T, input string, args ...string) (out string, calls []string, dir string) {
	t.Helper()
	binary, err := theBinary()
	if err != nil {
		t.Fatal(err)
	}
	wrap, log := strace(t)
	wrap = append(append(wrap, binary), args...)
	cmd := exec.Command(wrap[0], wrap[1:]...)
	dir = t.TempDir()
	cmd.Dir, cmd.Env = dir, []string{"HOME=" + dir, "TMPDIR=" + dir, "PATH=" + os.Getenv("PATH")}
	cmd.Stdin = strings.NewReader(input)
	var notes bytes.Buffer
	cmd.Stderr = &notes
	printed, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, &notes)
	}
	calls, lines := diskCalls(t, log)
	if lines < 5 {
		t.Fatalf("strace has seen only %d calls: this proves nothing", lines)
	}
	return string(printed), calls, dir
}

// Our commands open nothing for writing either, with any of their options.
func TestCommandsWriteNothing(t *testing.T) {
	engines := harness.StartEngines(t, 1, enginesim.Config{Speed: 200, OutputTokens: 8})
	texts := filepath.Join(t.TempDir(), "texts")
	if err := os.WriteFile(texts, []byte(harness.PlantedText()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var trace strings.Builder
	for i := range 60 {
		fmt.Fprintf(&trace, `{"timestamp":%d,"input_length":%d,"output_length":20,"hash_ids":[1,2,%d]}`+"\n", i*300, 1500, 3+i%7)
	}
	traced := filepath.Join(t.TempDir(), "trace")
	if err := os.WriteFile(traced, []byte(trace.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ args, input, want string }{
		{"pii-scan --json", harness.PlantedText(), `"EMAIL"`},
		{"pii-scan " + texts, "", "EMAIL"},
		{"pii-scan --list", "", "EMAIL"},
		{"kv-replay --trace -", trace.String(), "kv_aware"},
		{"kv-replay --json --trace " + traced, "", `"kv_aware"`},
		{"kv-replay --svg --trace " + traced, "", "<svg"},
		{"kv-bench --requests 20 --sessions 4 --rate 50 --url " + engines[0].URL(), "", "TTFT"},
		{"kv-bench --json --requests 20 --speed 100 --url " + engines[0].URL() + " --trace " + traced, "", "{"},
		{"kv-demo --once", "", "kv_aware"},
	} {
		name := strings.Join(strings.Fields(c.args)[:2], " ")
		t.Run(name, func(t *testing.T) {
			if testing.Short() && strings.HasPrefix(c.args, "kv-demo") {
				t.Skip("takes a while")
			}
			out, calls, dir := tracedCommand(t, c.input, strings.Fields(c.args)...)
			if !strings.Contains(out, c.want) {
				t.Errorf("it printed no %q:\n%.1000s", c.want, out)
			}
			for _, call := range calls {
				t.Error(call)
			}
			mustBeEmpty(t, dir)
		})
	}
}

// Proves that the test above can fail: a command of Caddy's own writes.
func TestWritingCommandIsSeen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "Caddyfile")
	if err := os.WriteFile(path, []byte(":8080 {\nrespond ok\n}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, calls, _ := tracedCommand(t, "", "fmt", "--overwrite", path)
	if !strings.Contains(strings.Join(calls, "\n"), path+`", O_WRONLY|O_CREAT|O_TRUNC`) {
		t.Errorf("the write to the file is not among\n%s", strings.Join(calls, "\n"))
	}
}
