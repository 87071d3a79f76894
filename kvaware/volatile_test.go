// SPDX-License-Identifier: Apache-2.0

package kvaware

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/bauxite/caddy-kvaware/internal/volatile"
	"github.com/bauxite/caddy-kvaware/internal/volatile/needs"
)

// A locked process stays locked, so each scene runs in a process of its own: this
// test binary again.
const sceneVar = "KV_AWARE_SCENE"

var scenes = map[string]func(dir string) error{
	"require":     requireScene,
	"rollback":    rollbackScene,
	"needs":       needsScene,
	"hidden":      hiddenScene,
	"best effort": bestEffortScene,
}

func TestMain(m *testing.M) {
	scene, ok := scenes[os.Getenv(sceneVar)]
	if !ok {
		os.Exit(m.Run())
	}
	dir, err := os.Getwd()
	if err == nil {
		err = scene(dir)
	}
	if err != nil {
		fmt.Println("SCENE FAILED:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// play runs a scene and returns the log of its process and the files it left.
func play(t *testing.T, scene string) (log string, files []string) {
	t.Helper()
	if err := volatile.Check(); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("in CI the lock must be tested: %v", err)
		}
		t.Skip(err)
	}
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cmd := exec.Command(binary)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), sceneVar+"="+scene, "HOME="+dir, "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if path != dir {
			files = append(files, strings.TrimPrefix(path, dir+"/"))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return string(out), files
}

// quiet is a config that needs no disk, with the mode of volatile_only given.
// The parts that scenes change are %s: admin, logging, apps beside these, tls,
// servers.
const quiet = `{
	"admin": {"disabled": true, "config": {"persist": %s}},
	"logging": {"logs": {"default": {"level": "WARN", "encoder": {"format": "json"}%s}}},
	"apps": {
		"kv_aware": {"volatile_only": "%s"},
		"tls": {"disable_storage_check": %t, "disable_storage_clean": %t%s},
		"http": {"servers": {"s": {"listen": ["%s"], "automatic_https": {%s}, "routes": [{%s"handle": [{"handler": "static_response", "body": "hello"}]}]}}}
	}
}`

// setup holds the options of a scene. The zero value of each needs no disk.
type setup struct {
	mode, listen, log, tls, host, https string
	persist, check, cleaned             bool
}

func (s setup) json() []byte {
	if s.listen == "" {
		s.listen = "127.0.0.1:0"
	}
	if s.https == "" {
		s.https = `"disable": true`
	}
	if s.host != "" {
		s.host = `"match": [{"host": ["` + s.host + `"]}], `
	}
	return fmt.Appendf(nil, quiet, fmt.Sprint(s.persist), s.log, s.mode, !s.check, !s.cleaned, s.tls, s.listen, s.https, s.host)
}

func (s setup) load() error { return caddy.Load(s.json(), true) }

// canWrite reports whether the process can still create files.
func canWrite(dir string) error {
	name := filepath.Join(dir, "attempt")
	if err := os.WriteFile(name, nil, 0o600); err != nil {
		return err
	}
	return os.Remove(name)
}

func mustWrite(dir string) error {
	if err := canWrite(dir); err != nil {
		return fmt.Errorf("the process is locked: %w", err)
	}
	return nil
}

func mustNotWrite(dir string) error {
	if err := canWrite(dir); !errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("the process is not locked: %v", err)
	}
	return nil
}

// served sends a request to the running config.
func served() error {
	app, err := caddy.ActiveContext().App("http")
	if err != nil {
		return err
	}
	resp, err := http.Get("http://" + app.(*caddyhttp.App).Servers["s"].Listeners()[0].Addr().String())
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); err != nil || string(body) != "hello" {
		return fmt.Errorf("served %q, %v", body, err)
	}
	return nil
}

func requireScene(dir string) error {
	if err := mustWrite(dir); err != nil {
		return err
	}
	if err := reported(volatileOff, "no", 0); err == nil {
		return errors.New("a state is reported before there is a config")
	}
	for range 20 { // Landlock can be stacked 16 times
		if err := errors.Join((setup{mode: "require"}).load(), mustNotWrite(dir), served()); err != nil {
			return err
		}
	}
	if err := reported(volatileRequire, "fully", 1); err != nil {
		return err
	}
	err := setup{mode: "require", check: true}.load()
	if err == nil || !strings.Contains(err.Error(), needs.StorageCheck.Instead) {
		return fmt.Errorf("a config that tests its storage: %v", err)
	}
	if err := served(); err != nil {
		return fmt.Errorf("after a refused reload: %w", err)
	}
	if err := (setup{mode: "off"}).load(); err != nil {
		return err
	}
	return errors.Join(mustNotWrite(dir), served(), reported(volatileOff, "fully", 1))
}

// reported checks the admin endpoint and the metric.
func reported(mode, locked string, gauge int) error {
	rec := httptest.NewRecorder()
	if err := whileRunning(serveVolatile).ServeHTTP(rec, httptest.NewRequest(http.MethodGet, volatilePath, nil)); err != nil {
		return err
	}
	var got volatileReport
	if err := json.Unmarshal(rec.Body.Bytes(), &got); err != nil {
		return err
	}
	if got.VolatileOnly != mode || got.Locked != locked || got.OpenForWriting < 0 {
		return fmt.Errorf("the admin endpoint reports %+v, want %s and %s", got, mode, locked)
	}
	ctx := caddy.ActiveContext()
	rec = httptest.NewRecorder()
	promhttp.HandlerFor(ctx.GetMetricsRegistry(), promhttp.HandlerOpts{}).ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/", nil))
	if want := fmt.Sprintf("\ncaddy_kv_aware_disk_locked %d\n", gauge); !strings.Contains(rec.Body.String(), want) {
		return fmt.Errorf("the metrics lack %q", want)
	}
	return nil
}

func TestRequireLocksForGood(t *testing.T) {
	log, files := play(t, "require")
	if want := "stays so until it is restarted"; !strings.Contains(log, want) {
		t.Errorf("the reload to off does not say that it %s:\n%s", want, log)
	}
	if len(files) > 0 {
		t.Errorf("it has written %q", files)
	}
}

// A config that fails to start leaves the process unlocked, whichever app started
// first.
func rollbackScene(dir string) error {
	for range 10 {
		if err := (setup{mode: "require", listen: "192.0.2.1:1"}).load(); err == nil {
			return errors.New("a config that cannot listen has started")
		}
		if err := mustWrite(dir); err != nil {
			return err
		}
	}
	var c caddy.Config
	if err := json.Unmarshal((setup{mode: "require"}).json(), &c); err != nil {
		return err
	}
	if err := caddy.Validate(&c); err != nil {
		return err
	}
	return mustWrite(dir)
}

func TestAFailedStartLocksNothing(t *testing.T) { play(t, "rollback") }

// ownCA gets certificates from a CA in the process: no test asks a public one, and
// no root goes into the machine's trust store.
const ownCA = `"issuers": [{"module": "internal"}]`

const noTrust = `}, "pki": {"certificate_authorities": {"local": {"install_trust": false}}`

// needy are configs that need the disk later, each for one reason.
var needy = map[string]struct {
	setup setup
	need  needs.Need
}{
	"log file":      {setup{log: `, "writer": {"output": "file", "filename": "caddy.log", "roll": false}`}, needs.OpenFiles},
	"storage test":  {setup{check: true}, needs.StorageCheck},
	"storage clean": {setup{cleaned: true}, needs.StorageClean},
	"certificates": {setup{host: "llm.example.com", https: `"disable_redirects": true`,
		tls: `, "automation": {"policies": [{` + ownCA + `}]}` + noTrust}, needs.Certificates},
	"on demand": {setup{tls: `, "automation": {"policies": [{"on_demand": true, ` + ownCA + `}], ` +
		`"on_demand": {"permission": {"module": "http", "endpoint": "http://127.0.0.1:1"}}}` + noTrust}, needs.Certificates},
	"internal CA": {setup{tls: noTrust}, needs.Authority},
}

func needsScene(dir string) error {
	for name, c := range needy {
		c.setup.mode = volatileRequire
		for range 10 { // apps start in another order each time
			err := c.setup.load()
			if err == nil || !strings.Contains(err.Error(), c.need.Instead) || !strings.Contains(err.Error(), "volatile_only require: the config needs the disk after its start") {
				return fmt.Errorf("%s: error %v, want one that names %q", name, err, c.need.Instead)
			}
			if err := mustWrite(dir); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	return nil
}

func TestRequireRefusesWhatNeedsTheDisk(t *testing.T) { play(t, "needs") }

func bestEffortScene(dir string) error {
	if err := (setup{mode: volatileBestEffort, persist: true, check: true}).load(); err != nil {
		return err
	}
	return errors.Join(mustNotWrite(dir), served(), reported(volatileBestEffort, "fully", 1))
}

func TestBestEffortWarns(t *testing.T) {
	log, files := play(t, "best effort")
	if want := needs.StorageCheck.Instead; !strings.Contains(log, want) {
		t.Errorf("no warning names %q:\n%s", want, log)
	}
	testNoAutosave(t, log, files)
}

// testNoAutosave checks that Caddy has tried to save the config, and could not.
func testNoAutosave(t *testing.T, log string, files []string) {
	t.Helper()
	if !strings.Contains(log, "unable to create folder for config autosave") && !strings.Contains(log, "unable to autosave config") {
		t.Errorf("the log does not say that the autosave failed:\n%s", log)
	}
	for _, name := range files {
		if strings.Contains(name, "autosave") {
			t.Errorf("the autosave is there: %q", files)
		}
	}
}

// hiddenScene loads a config whose needs Caddy does not show: it starts, and the
// lock makes them fail.
func hiddenScene(dir string) error {
	return errors.Join((setup{mode: volatileRequire, persist: true}).load(), mustNotWrite(dir), served(), reported(volatileRequire, "fully", 1))
}

func TestTheLockStopsWhatCannotBeSeen(t *testing.T) {
	log, files := play(t, "hidden")
	testNoAutosave(t, log, files)
}
