// SPDX-License-Identifier: Apache-2.0

//go:build linux && !race

package volatile

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/bauxite/caddy-kvaware/integration/harness"
	"github.com/bauxite/caddy-kvaware/internal/sim/enginesim"
)

// traced lists the system calls that can write to a disk or start a program. Calls
// that open files are examined further.
const traced = "open,openat,openat2,creat,mkdir,mkdirat,mknod,mknodat,rename,renameat,renameat2,link,linkat," +
	"symlink,symlinkat,truncate,ftruncate,fallocate,copy_file_range,unlink,unlinkat,rmdir," +
	"chmod,fchmod,fchmodat,chown,fchown,lchown,fchownat,setxattr,lsetxattr,fsetxattr,utimensat,mount,swapon," +
	"pwrite64,pwritev,pwritev2,io_uring_setup,execve,execveat"

var (
	// opening matches a line of strace that opens a file, with path and flags.
	opening = regexp.MustCompile(`\b(?:openat\([^,]*, |open\()"([^"]*)", ([A-Z_|0-9x]+)`)
	writing = regexp.MustCompile(`O_(WRONLY|RDWR|CREAT|TRUNC|APPEND|TMPFILE)`)
	// aside matches a line that is no call: a signal, an exit, the second half of a
	// call whose arguments are in the first, or a thread that strace detaches from
	// because its process has exited.
	aside = regexp.MustCompile(`^\d+ +(\+\+\+ |--- |<\.\.\. \w+ resumed>|\?\?\?\( <detached \.\.\.>)`)
)

// disk returns a line of strace if its call can write to a disk, else "".
func disk(line string) string {
	if aside.MatchString(line) {
		return ""
	}
	if m := opening.FindStringSubmatch(line); m != nil && (!writing.MatchString(m[2]) || m[1] == os.DevNull) {
		return ""
	}
	return line
}

// diskCalls returns the calls in a log of strace that can write to a disk. The first
// execve does not count: with it strace starts the program.
func diskCalls(t *testing.T, log string) (calls []string, lines int) {
	t.Helper()
	f, err := os.Open(log)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	in := bufio.NewScanner(f)
	in.Buffer(nil, 1<<20)
	for in.Scan() {
		lines++
		if lines == 1 && strings.Contains(in.Text(), "execve(") {
			continue
		}
		if call := disk(in.Text()); call != "" {
			calls = append(calls, call)
		}
	}
	if err := in.Err(); err != nil {
		t.Fatal(err)
	}
	return calls, lines
}

// strace returns a command line that traces what follows it.
func strace(t *testing.T) (wrap []string, log string) {
	t.Helper()
	if _, err := exec.LookPath("strace"); err != nil {
		harness.Missing(t, "strace is missing; `make prerequisites` installs it")
	}
	if out, err := exec.Command("strace", "-o", "/dev/null", "true").CombinedOutput(); err != nil {
		harness.Missing(t, "strace may not trace here: %v\n%s", err, out)
	}
	log = filepath.Join(t.TempDir(), "strace")
	return []string{"strace", "-f", "--seccomp-bpf", "-qq", "-s", "200", "-e", "trace=" + traced, "-o", log}, log
}

// volatileExample returns the example that writes nothing, with the addresses of the
// test, limits that requests run into, and these changes: old, new, old, new.
func volatileExample(t *testing.T, engines []*enginesim.Engine, changes ...string) string {
	t.Helper()
	raw, err := os.ReadFile(harness.Root + "/caddyfile-examples/volatile.Caddyfile")
	if err != nil {
		t.Fatal(err)
	}
	changes = append([]string{
		"persist_config off", "persist_config off\n admin ADMIN",
		":8080 {", "http://GATEWAY {",
		"node-a:8000 node-b:8000", harness.Addresses(engines),
		"in_flight_limit 128MB", "max_size 4MB\n in_flight_limit 8MB\n admit_wait 50ms",
	}, changes...)
	text := string(raw)
	for i := 0; i < len(changes); i += 2 {
		if !strings.Contains(text, changes[i]) {
			t.Fatalf("the example has no %q any more", changes[i])
		}
		text = strings.Replace(text, changes[i], changes[i+1], 1)
	}
	return text
}

// TestNothingIsWritten runs the binary with the example that writes nothing,
// sends it traffic of every kind, and examines each system call that can write to a
// disk. Calls that the lock has denied count too.
func TestNothingIsWritten(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	wrap, log := strace(t)
	engines := harness.StartPublishingEngines(t, 2, enginesim.Config{Speed: 100, OutputTokens: 8, Responder: enginesim.Echo, CacheBlocks: 4000, Record: 5000})
	config := volatileExample(t, engines, "lb_policy kv_aware", "lb_policy kv_aware {\n "+harness.EventsOption(engines[0], 1)+"\n }")
	p := launch(t, config, nil, wrap...)
	everyTraffic(t, p, engines, config)
	harness.Await(t, "engines were asked for tokens", func() bool {
		return slices.ContainsFunc(append(engines[0].Received(), engines[1].Received()...), func(r enginesim.Received) bool {
			return strings.HasSuffix(r.Path, "/render") || r.Path == "/tokenize" && r.Header.Get("User-Agent") == "caddy-kvaware"
		})
	})
	known := regexp.MustCompile(`"known":"complete".*?"blocks":[1-9]`)
	harness.Await(t, "events are followed", func() bool { return known.MatchString(p.adminGet(t, "/kv_aware/upstreams")) })
	p.awaitState(t, `"locked":"fully"`)
	p.stop(t)
	calls, lines := diskCalls(t, log)
	for i, call := range calls {
		if t.Errorf("%s", call); i == 20 {
			t.Fatalf("and %d more", len(calls)-i)
		}
	}
	if lines < 20 {
		t.Fatalf("strace has seen only %d calls: this proves nothing", lines)
	}
	mustBeEmpty(t, p.dir)
	t.Logf("%d calls looked at, none creates or writes", lines)
}

// everyTraffic sends requests of every kind.
func everyTraffic(t *testing.T, p *process, engines []*enginesim.Engine, config string) {
	t.Helper()
	status := map[int]int{}
	// Misses and hits, scrubbed and restored, whole and streamed, good and
	// broken, to every API.
	for range 2 {
		for _, body := range harness.PlantedBodies() {
			for _, path := range harness.PlantedPaths {
				status[p.Post(t, path, body).Status]++
			}
		}
	}
	answer := p.Post(t, harness.PlantedPaths[0], harness.Chat("Mail "+harness.SecretMail, false))
	if answer.Status != http.StatusOK || !strings.Contains(answer.Body, harness.SecretMail) {
		t.Fatalf("not restored: status %d, %.300s", answer.Status, answer.Body)
	}
	// Bodies over max_size, and more of them than in_flight_limit admits.
	tooLarge(p, status)
	for range 20 { // a client that is cut off while it sends may not read the answer
		if flood(t, p, status); status[http.StatusInsufficientStorage] > 0 {
			break
		}
	}
	// Engines that fail in every way, and a client that leaves early.
	for _, e := range engines {
		if err := e.Fault(enginesim.Fault{Kind: enginesim.Status, Status: 500, Count: 40}, enginesim.Fault{Kind: enginesim.Reset, Skip: 40, Count: 40},
			enginesim.Fault{Kind: enginesim.Cut, Chunks: 1, Skip: 80, Count: 20}); err != nil {
			t.Fatal(err)
		}
	}
	harness.SendAll(&p.Gateway, harness.PlantedBodies())
	abandon(t, p)
	for range 3 {
		if got, text := p.load(t, config); got != http.StatusOK {
			t.Fatalf("reload: status %d, %s", got, text)
		}
	}
	if got, text := p.load(t, strings.Replace(config, "storage_check off", "", 1)); got == http.StatusOK || !strings.Contains(text, "storage_check off") {
		t.Fatalf("a reload to a config that tests its storage: status %d, %s", got, text)
	}
	for _, path := range []string{"/kv_aware/tree", "/kv_aware/upstreams", "/metrics", "/config/", "/debug/pprof/heap?gc=1"} {
		p.adminGet(t, path)
	}
	for _, want := range []int{200, 400, 413, 507} {
		if status[want] == 0 {
			t.Errorf("no request was answered with %d: %v", want, status)
		}
	}
}

// tooLarge sends a body over max_size until it reads an answer: a client may be cut
// off before that.
func tooLarge(p *process, status map[int]int) {
	for range 20 {
		resp, err := p.Client.Post(p.URL+harness.PlantedPaths[0], "application/json", strings.NewReader(harness.Chat(strings.Repeat("x", 5_000_000), false)))
		if err == nil {
			resp.Body.Close()
			status[resp.StatusCode]++
			return
		}
	}
}

// flood sends more bytes at once than in_flight_limit admits.
func flood(t *testing.T, p *process, status map[int]int) {
	t.Helper()
	size := 3_000_000
	head := fmt.Sprintf("POST /v1/chat/completions HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n",
		strings.TrimPrefix(p.URL, "http://"), size)
	var held []net.Conn
	for i := range 8 {
		// Each client has an address of its own: one may take only a share.
		dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 1, byte(i+1))}}
		conn, err := dialer.Dial("tcp", strings.TrimPrefix(p.URL, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, conn)
		io.WriteString(conn, head+`{"model":"sim","messages":[{"role":"user","content":"`+strings.Repeat("y", size/2))
	}
	var mu sync.Mutex
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			resp, err := p.Client.Post(p.URL+harness.PlantedPaths[0], "application/json", strings.NewReader(harness.Chat(strings.Repeat("z", 2_500_000), false)))
			if err != nil {
				return // cut off in the middle of the body: also an answer
			}
			resp.Body.Close()
			mu.Lock()
			defer mu.Unlock()
			status[resp.StatusCode]++
		})
	}
	all.Wait()
	for _, conn := range held {
		conn.Close()
	}
}

// abandon closes the connection in the middle of a stream.
func abandon(t *testing.T, p *process) {
	t.Helper()
	resp, err := p.Client.Post(p.URL+harness.PlantedPaths[0], "application/json", strings.NewReader(harness.Chat(harness.PlantedText(), true)))
	if err != nil {
		return
	}
	io.ReadFull(resp.Body, make([]byte, 10))
	resp.Body.Close()
}

// Proves that the test above can fail: this config writes an autosave and to the
// storage.
func TestWritingIsSeen(t *testing.T) {
	wrap, log := strace(t)
	engines := harness.StartEngines(t, 1, enginesim.Config{Speed: 100})
	p := launch(t, volatileExample(t, engines, "persist_config off", "", "storage_check off", "", "volatile_only require", "volatile_only off"), nil, wrap...)
	p.stop(t)
	calls, _ := diskCalls(t, log)
	for _, want := range []string{`autosave.json", O_WRONLY|O_CREAT|O_TRUNC`, "mkdirat("} {
		if !strings.Contains(strings.Join(calls, "\n"), want) {
			t.Errorf("no call with %s among\n%s", want, strings.Join(calls, "\n"))
		}
	}
	if entries, err := os.ReadDir(p.dir); err != nil || len(entries) == 0 {
		t.Errorf("the process left nothing behind: %v", err)
	}
}

// Lines of strace that write are told from lines that only read.
func TestDiskCallsAreTold(t *testing.T) {
	for line, is := range map[string]bool{
		`1 openat(AT_FDCWD, "/etc/hosts", O_RDONLY|O_CLOEXEC) = 3`:                             false,
		`1 openat(AT_FDCWD, "/dev/null", O_RDWR) = 3`:                                          false,
		`1 openat(AT_FDCWD, "/etc/nothing", O_RDONLY) = -1 ENOENT (No such file or directory)`: false,
		`1 openat(AT_FDCWD, "/etc/hosts", O_RDONLY <unfinished ...>`:                           false,
		`1 <... openat resumed>)             = 13`:                                             false,
		`1 +++ exited with 0 +++`:                                                              false,
		`1 ???( <detached ...>`:                                                                false,
		`1 --- SIGURG {si_signo=SIGURG, si_code=SI_TKILL, si_pid=1, si_uid=0} ---`:             false,
		`1 openat(AT_FDCWD, "x", O_WRONLY|O_CREAT|O_TRUNC|O_CLOEXEC, 0600) = 3`:                true,
		`1 openat(AT_FDCWD, "x", O_RDWR) = -1 EACCES (Permission denied)`:                      true,
		`1 openat(AT_FDCWD, "x", O_RDONLY|O_CREAT, 0600 <unfinished ...>`:                      true,
		`1 openat(AT_FDCWD, "/tmp", O_RDWR|O_TMPFILE, 0600) = 3`:                               true,
		`1 open("x", O_APPEND|O_WRONLY) = 3`:                                                   true,
		`1 creat("x", 0600) = 3`:                                                               true,
		`1 mkdirat(AT_FDCWD, "x", 0700) = 0`:                                                   true,
		`1 renameat(AT_FDCWD, "x", AT_FDCWD, "y") = 0`:                                         true,
		`1 ftruncate(3, 0) = 0`:                                                                true,
		`1 unlinkat(AT_FDCWD, "x", 0) = -1 ENOENT (No such file or directory)`:                 true,
		`1 openat2(AT_FDCWD, "x", {flags=O_WRONLY}, 24) = 3`:                                   true,
		`1 execve("/bin/sh", ["sh"], 0x7ff /* 10 vars */) = 0`:                                 true,
	} {
		if got := disk(line) != ""; got != is {
			t.Errorf("%v for %s", got, line)
		}
	}
}
