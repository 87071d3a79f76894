// SPDX-License-Identifier: Apache-2.0

package callgraph

import (
	"go/constant"
	"go/types"
	"strings"
	"syscall"

	"golang.org/x/tools/go/ssa"
)

// borders end the search. The code behind them is not ours; the test under strace
// and Landlock watch it at run time. Functions there that are known to write are
// forbidden by name, below.
var borders = []string{
	"net", "crypto", // the standard library's network and cryptography
	"go.uber.org/zap",
	"github.com/caddyserver",
	"github.com/landlock-lsm", // the lock itself: prctl and landlock_* calls
	"runtime", "internal/runtime",
	"internal/poll", // only os and net can call it, with files that they opened
}

func border(path string) bool { return under(path, borders...) }

// harmless lists the functions of the guarded packages that may be reached. All
// others are forbidden, including those that a later Go adds. (*os.File).Write is
// here because nothing here opens a file for writing.
var harmless = set(
	"os.Open", "os.ReadFile", "os.ReadDir", "os.Stat", "os.Lstat", "os.Readlink",
	"(*os.File).Read", "(*os.File).ReadAt", "(*os.File).Seek", "(*os.File).Stat", "(*os.File).Name", "(*os.File).Close",
	"(*os.File).ReadDir", "(*os.File).Readdirnames", "(*os.File).WriteTo", "(*os.File).Fd",
	"(*os.File).Write", "(*os.File).WriteString", "(*os.File).ReadFrom",
	"(*os.SyscallError).Error", "(*os.SyscallError).Unwrap", "(*os.SyscallError).Timeout",
	"os.Getenv", "os.LookupEnv", "os.Environ", "os.Getpid", "os.Getpagesize", "os.Executable", "os.Hostname", "os.Exit",
	"os.IsNotExist", "os.IsExist", "os.IsPermission",
	"os/signal.Notify", "os/signal.NotifyContext", "os/signal.Stop",
	"(syscall.Errno).Error", "(syscall.Errno).Is", "(syscall.Errno).Timeout", "(syscall.Errno).Temporary", "(syscall.Signal).String",
	"syscall.Getenv", "syscall.Read", "syscall.Seek", "syscall.Close", // package time, reading zones
	"syscall.Statfs", // procfs, asking what /proc is
	// The lock itself.
	"golang.org/x/sys/unix.Prctl", "golang.org/x/sys/unix.Setrlimit", "golang.org/x/sys/unix.Close",
)

// guarded lists the packages of which only harmless functions may be reached.
var guarded = []string{"os", "plugin", "syscall", "internal/syscall", "golang.org/x/sys", "log/syslog"}

const (
	writes = "writes files"
	socket = "makes a socket in the file system"
	spills = "spills large forms into temporary files"
	blind  = "calls what the search cannot see"
)

// forbidden lists functions of other packages that write files or that hide the path
// from the search, with the reason.
var forbidden = map[string]string{
	"go.uber.org/zap.Open":           writes,
	"(go.uber.org/zap.Config).Build": writes,

	"github.com/caddyserver/caddy/v2.PIDFile":                                 writes,
	"(github.com/caddyserver/caddy/v2/modules/logging.FileWriter).OpenWriter": writes,
	"(*github.com/caddyserver/certmagic.FileStorage).Store":                   writes,
	"(*github.com/caddyserver/certmagic.FileStorage).Lock":                    writes,
	"(*github.com/caddyserver/certmagic.FileStorage).Delete":                  writes,
	"(github.com/caddyserver/certmagic.Storage).Store":                        writes,
	"(github.com/caddyserver/certmagic.Locker).Lock":                          writes,

	"net.ListenUnix":     socket,
	"net.ListenUnixgram": socket,

	"(*net/http.Request).ParseMultipartForm": spills,
	"(*net/http.Request).FormFile":           spills,
	"(*net/http.Request).FormValue":          spills,
	"(*net/http.Request).PostFormValue":      spills,
	"(*mime/multipart.Reader).ReadForm":      spills,

	"runtime/debug.WriteHeapDump":  writes,
	"runtime/debug.SetCrashOutput": writes,

	"(reflect.Value).Call":         blind,
	"(reflect.Value).CallSlice":    blind,
	"(reflect.Value).Method":       blind,
	"(reflect.Value).MethodByName": blind,
}

// reflecting lists packages whose calls by reflection are known to be harmless.
var reflecting = []string{
	"google.golang.org/protobuf", // getters of messages, to describe them
}

// check returns why caller must not call or mention callee, or else whether the
// search goes on in callee.
func check(caller, callee *ssa.Function, site ssa.CallInstruction) (why string, goOn bool) {
	name, path := nameOf(callee), packageOf(callee)
	if why, ok := forbidden[name]; ok {
		if why == blind && under(packageOf(caller), reflecting...) {
			why = ""
		}
		return why, false
	}
	if under(path, guarded...) {
		if harmless[name] || !outward(callee) || readOnlyOpen(name, site) {
			return "", false
		}
		return "is not among the harmless functions of its package", false
	}
	return "", !border(path)
}

// outward reports whether other packages can call f. An unexported function is
// reached through an exported one, which is checked. Other paths to it are errors of
// the graph, which does not tell apart the calls of functions such as io.Copy and
// (*sync.Once).Do by their arguments.
func outward(f *ssa.Function) bool {
	if f.Parent() != nil || f.Object() == nil || !f.Object().Exported() {
		return false
	}
	receiver := f.Object().(*types.Func).Signature().Recv()
	if receiver == nil {
		return true
	}
	t := receiver.Type()
	if p, ok := t.(*types.Pointer); ok {
		t = p.Elem()
	}
	named, ok := types.Unalias(t).(*types.Named)
	return !ok || named.Obj().Exported()
}

// readOnlyOpen reports whether a call is syscall.Open with a constant flag that only
// reads. Package time opens its zones so.
func readOnlyOpen(name string, site ssa.CallInstruction) bool {
	if name != "syscall.Open" || site == nil || len(site.Common().Args) != 3 {
		return false
	}
	flag, ok := site.Common().Args[1].(*ssa.Const)
	if !ok {
		return false
	}
	bits, exact := constant.Int64Val(flag.Value)
	return exact && bits&^syscall.O_CLOEXEC == syscall.O_RDONLY
}

// bodyless reports whether functions of a package may be written in assembly.
func bodyless(path string) bool {
	standard := !strings.Contains(strings.SplitN(path, "/", 2)[0], ".")
	return standard || under(path, "github.com/cespare/xxhash", "github.com/klauspost/compress")
}

func set(names ...string) map[string]bool {
	s := make(map[string]bool, len(names))
	for _, name := range names {
		s[name] = true
	}
	return s
}
