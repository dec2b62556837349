//go:build linux

package swap

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dapbridge/dapbridge/internal/api"
	"github.com/dapbridge/dapbridge/internal/testenv"
)

// manager replaces systemctl, as the first on the PATH, with units that consist of one
// process each. It fails where a test wants it to and records the commands. The tests
// in e2e use a real systemd.
type manager struct {
	t   *testing.T
	dir string // UNIT.start holds the command that a restart runs, UNIT.pid its process
}

func newManager(t *testing.T) *manager {
	t.Helper()
	if os.Getuid() != 0 {
		testenv.Skipf(t, "units' control groups need root")
	}
	m := &manager{t, t.TempDir()}
	m.write("systemctl", `#!/bin/sh
cd `+m.dir+`
for unit do :; done
case $* in
*InvocationID*) exit 0 ;;
show*)
	pid=$(cat $unit.pid 2>/dev/null || echo 0)
	state=$(sed -n 's/^State:.\(.\).*/\1/p' /proc/$pid/status 2>/dev/null)
	case $state in ''|Z|X) pid=0 active=failed ;; *) active=active ;; esac
	[ ! -e stopping ] || active=deactivating
	load=loaded
	[ -e $unit.start ] || load=not-found active=inactive
	printf 'LoadState=%s\nActiveState=%s\nResult=success\nMainPID=%s\nKillMode=process\n' $load $active $pid
	exit 0 ;;
esac
echo "$*" >>asked
[ ! -e "fails-$1" ] || exit 1
case $1 in
restart)
	[ ! -e $unit.pid ] || kill -KILL $(cat $unit.pid) 2>/dev/null
	sh -c "$(cat $unit.start)" </dev/null >/dev/null 2>&1 &
	echo $! >$unit.pid ;;
esac
`)
	t.Setenv("PATH", m.dir+":"+os.Getenv("PATH"))
	t.Cleanup(m.end)
	return m
}

// end kills the units' processes.
func (m *manager) end() {
	pids, _ := filepath.Glob(filepath.Join(m.dir, "*.pid"))
	for _, path := range pids {
		if pid := m.pid(strings.TrimSuffix(filepath.Base(path), ".pid")); pid > 1 {
			syscall.Kill(pid, syscall.SIGKILL)
		}
	}
}

func (m *manager) write(name, text string) {
	m.t.Helper()
	if err := os.WriteFile(filepath.Join(m.dir, name), []byte(text), 0o755); err != nil {
		m.t.Fatal(err)
	}
}

func (m *manager) remove(name string) {
	m.t.Helper()
	if err := os.Remove(filepath.Join(m.dir, name)); err != nil {
		m.t.Fatal(err)
	}
}

// pid returns the pid of the unit's process, 0 if it has none.
func (m *manager) pid(unit string) int {
	text, _ := os.ReadFile(filepath.Join(m.dir, unit+".pid"))
	pid, _ := strconv.Atoi(strings.TrimSpace(string(text)))
	return pid
}

func (m *manager) isUp(unit string) bool {
	u, err := systemd{}.show(m.t.Context(), unit)
	return err == nil && u.mainPID != 0
}

// commands returns the commands since the last call, except show.
func (m *manager) commands() string {
	text, _ := os.ReadFile(filepath.Join(m.dir, "asked"))
	os.Remove(filepath.Join(m.dir, "asked"))
	return string(text)
}

// mustBeUp checks that the units have a process.
func (m *manager) mustBeUp(units ...string) {
	m.t.Helper()
	for _, unit := range units {
		if !m.isUp(unit) {
			m.t.Errorf("%s is not running; the commands were\n%s", unit, m.commands())
		}
	}
}

// mustHave checks the content of a file.
func (m *manager) mustHave(path string, data []byte) {
	m.t.Helper()
	if !hasContent(m.t, path, data) {
		m.t.Errorf("%s has other content", path)
	}
}

// start starts a unit whose process runs the file, in a cgroup of its name. The
// process starts only if the shell condition holds.
func (m *manager) start(unit, path, condition string) {
	m.t.Helper()
	root := "/sys/fs/cgroup/systemd"
	if _, err := os.Stat(root); err != nil {
		root = "/sys/fs/cgroup"
	}
	group := filepath.Join(root, fmt.Sprintf("dapbridge-test-%d", os.Getpid()), unit)
	if err := os.MkdirAll(group, 0o755); err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() {
		m.end()
		testenv.Eventually(2*time.Second, func() bool { // once its processes have exited
			err := os.Remove(group)
			return err == nil || os.IsNotExist(err)
		})
		os.Remove(filepath.Dir(group))
	})
	m.write(unit+".start", fmt.Sprintf("%s || exit 1; echo $$ >%s/cgroup.procs; exec %s 600", condition, group, path))
	if err := (systemd{}).restart(m.t.Context(), unit); err != nil {
		m.t.Fatal(err)
	}
	if !testenv.Eventually(10*time.Second, func() bool {
		same, err := isRunning(m.pid(unit), path)
		return err == nil && same
	}) {
		m.t.Fatalf("%s does not run %s", unit, path)
	}
	m.commands()
}

// newExecutable returns a program that sleeps, different for each name.
func newExecutable(t *testing.T, name string) []byte {
	t.Helper()
	path, err := exec.LookPath("sleep")
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return append(data, name...)
}

// install puts an executable at a path, as a package manager does.
func install(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path+".new", data, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

func hasContent(t *testing.T, path string, data []byte) bool {
	t.Helper()
	is, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Equal(is, data)
}

// bench is a runner with a store of its own.
type bench struct {
	*Runner
	*manager
	t *testing.T
}

func newBench(t *testing.T) bench {
	t.Helper()
	return bench{t: t, manager: newManager(t), Runner: &Runner{
		Dir:    filepath.Join(t.TempDir(), "dapbridge", "swap"),
		Report: func(api.SwapProgress) {}, IdleTimeout: time.Minute, minUptime: 300 * time.Millisecond,
		Sessions: Sessions{
			Find: func(int) (string, error) { return "", nil },
			End:  func(context.Context, int, string) error { return nil },
		},
	}}
}

// deploy deploys a build to a unit's process. in, unless nil, wraps the reader of the
// build.
func (b bench) deploy(ctx context.Context, unit string, build []byte, in func(io.Reader) io.Reader) error {
	b.t.Helper()
	var r io.Reader = bytes.NewReader(pack(b.t, string(build), ""))
	if in != nil {
		r = in(r)
	}
	_, err := b.Deploy(ctx, api.DeployRequest{
		Target: api.Selector{PID: b.pid(unit)}, SHA256: sum(string(build)), Size: int64(len(build)), Ready: 5 * time.Second,
	}, r)
	return err
}

// mustRestore restores, with that value of Replaced, and returns what was done to the
// units, of which there must be so many.
func (b bench) mustRestore(replaced string, units int) []api.RestoredUnit {
	b.t.Helper()
	done, err := b.Restore(b.t.Context(), api.RestoreRequest{Replaced: replaced})
	if err != nil || len(done.Units) != units {
		b.t.Fatalf("restored %+v, %v; want %d units", done.Units, err, units)
	}
	return done.Units
}

// recordDeploy writes the record of a deploy that has reached a stage, with drop-ins.
func (b bench) recordDeploy(unit, path, stage string, build []byte, ins ...dropIn) {
	b.t.Helper()
	s, unlock, err := openStore(b.Dir)
	if err != nil {
		b.t.Fatal(err)
	}
	defer unlock()
	original, err := describeFile(path)
	if err != nil {
		b.t.Fatal(err)
	}
	r := &record{Unit: unit, Path: path, Original: original, Argv: []string{path, "600"}}
	if err := s.create(r); err != nil {
		b.t.Fatal(err)
	}
	r.Stage, r.DropIns, r.Builds = stage, ins, []string{sum(string(build))}
	if err := s.save(r); err != nil {
		b.t.Fatal(err)
	}
	for _, in := range ins {
		if err := in.write(); err != nil {
			b.t.Fatal(err)
		}
	}
}
