package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/dapbridge/dapbridge/internal/testenv"

	"golang.org/x/sys/unix"

	"github.com/dapbridge/dapbridge/e2e/internal/testbed"
)

const containerdPath = "/usr/bin/containerd"

// deployed is the output of `dapbridge deploy -o json`.
type deployed struct {
	Built struct {
		Path string        `json:"path"`
		Size int64         `json:"size"`
		Took time.Duration `json:"took"`
	} `json:"built"`
	Deployed struct {
		Swapped bool          `json:"swapped"`
		PID     int           `json:"newPID"`
		Served  time.Duration `json:"served"`
		Lost    []any         `json:"lost"`
	} `json:"deployed"`
	Sent  int64         `json:"sent"`
	Delta bool          `json:"delta"`
	Send  time.Duration `json:"send"`
}

// deployCommand prepares dapbridge deploy in the user's source. Builds use -trimpath, so
// that the next run of the tests finds them in the user's build cache.
func (f *fixture) deployCommand(t testing.TB, args ...string) *exec.Cmd {
	t.Helper()
	cmd := f.command(t.Context(), userUID, append(append([]string{"deploy"}, f.nodeArgs()...), args...)...)
	cmd.Env = append(cmd.Env, "GOFLAGS=-trimpath")
	return cmd
}

// deploy runs dapbridge deploy and returns its report.
func (f *fixture) deploy(t testing.TB, args ...string) deployed {
	t.Helper()
	cmd := f.deployCommand(t, append(args, "-o", "json")...)
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil {
		t.Fatalf("dapbridge deploy %q: %v\n%s", args, err, &said)
	}
	var d deployed
	if err := json.Unmarshal(out.Bytes(), &d); err != nil {
		t.Fatal(err)
	}
	return d
}

// restore runs dapbridge restore and returns its output.
func (f *fixture) restore(t testing.TB, args ...string) string {
	t.Helper()
	cmd := f.command(t.Context(), userUID, append(append([]string{"restore"}, f.nodeArgs()...), args...)...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("dapbridge restore: %v\n%s", err, out)
	}
	return string(out)
}

// nodeState describes what a restore must bring back: the executable with its
// attributes, the units and the command lines of containerd and kubelet.
func (f *fixture) nodeState(t testing.TB) string {
	t.Helper()
	const script = `sha256sum /usr/bin/containerd
stat -c '%a %u %g %s %y' /usr/bin/containerd
systemctl show -p LoadState,ActiveState,SubState,UnitFileState,FragmentPath,DropInPaths,ExecStart,WatchdogUSec containerd kubelet | sed 's/start_time=.*//'
for u in containerd kubelet; do pid=$(systemctl show -P MainPID $u); tr '\0' ' ' </proc/$pid/cmdline; sha256sum </proc/$pid/exe; done
ls -A /usr/bin | grep -e dapbridge; ls -d /var/lib/*/dapbridge /var/lib/dapbridge /etc/systemd/system/*.d 2>/dev/null; :`
	out, err := f.node.Exec(t.Context(), "sh", "-c", script)
	if err != nil {
		t.Fatal(err)
	}
	return string(out) + f.originalMark(t)
}

// noteAttr is an extended attribute of the original, which a build of the user lacks.
const noteAttr = "user.dapbridge-test"

func (f *fixture) originalMark(t testing.TB) string {
	t.Helper()
	value := make([]byte, 100)
	n, err := unix.Getxattr(filepath.Join(f.node.RootFS(), containerdPath), noteAttr, value)
	if errors.Is(err, unix.ENODATA) {
		return "no note"
	}
	if err != nil {
		t.Fatal(err)
	}
	return string(value[:n])
}

// shims lists the shims and the first processes of the containers, with their start
// times.
func (f *fixture) shims(t testing.TB) string {
	t.Helper()
	const script = `for s in $(pgrep containerd-shim); do echo $s; pgrep -P $s; done | sort -n | while read p; do echo $p $(cut -d' ' -f2,22 /proc/$p/stat); done`
	out, err := f.node.Exec(t.Context(), "sh", "-c", script)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// allAlive reports whether all processes that shims listed before are among those it
// lists now.
func allAlive(before, now string) bool {
	for line := range strings.Lines(before) {
		if !strings.Contains("\n"+now, "\n"+line) {
			return false
		}
	}
	return true
}

// TestDeploy replaces a stripped, optimised containerd by a debug build and restores it,
// while a pod keeps running.
func TestDeploy(t *testing.T) {
	f := setupAll(t)
	f.use(t, testbed.Stripped)
	f.shareBuildCache(t, testbed.Trimpath, goCache)
	file := filepath.Join(f.node.RootFS(), containerdPath)
	if err := unix.Setxattr(file, noteAttr, []byte("the original"), 0); err != nil {
		t.Fatal(err)
	}
	f.restore(t) // what other tests have left there
	before, pod := f.nodeState(t), f.startPod(t)
	f.waitPod(t, pod)
	shims := f.shims(t)
	if strings.Count(shims, "\n") < 2 {
		t.Fatalf("no processes of the pod: %q", shims)
	}

	pid := f.containerd(t)
	out, err := f.deployCommand(t, "--dry-run").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "'-gcflags=all=-N -l'") || f.containerd(t) != pid {
		t.Errorf("--dry-run: %v\n%s", err, out)
	}
	d := f.deploy(t, "--arg", "-l", "--arg", "debug", "--relax")
	t.Logf("built %d bytes in %v, sent in %v, served after %v", d.Built.Size, d.Built.Took, d.Send, d.Deployed.Served)
	if !d.Deployed.Swapped || d.Deployed.PID != f.containerd(t) || len(d.Deployed.Lost) > 0 {
		t.Errorf("%+v, containerd is pid %d", d, f.containerd(t))
	}
	after := f.nodeState(t)
	for _, want := range []string{"/usr/bin/containerd -l debug ", "--runtime-request-timeout=24h", "the original"} {
		if !strings.Contains(after, want) {
			t.Errorf("no %q after the deploy in:\n%s", want, after)
		}
	}
	if got := f.shims(t); got != shims {
		t.Errorf("processes after the deploy\n%s\nbefore\n%s", got, shims)
	}
	session(t, f)

	if again := f.deploy(t, "--arg", "-l", "--arg", "debug", "--relax"); again.Deployed.Served != 0 || again.Deployed.PID != d.Deployed.PID {
		t.Errorf("the second time: %+v", again)
	}
	if said := f.restore(t, "--dry-run"); !strings.Contains(said, "would be put back") || f.containerd(t) != d.Deployed.PID {
		t.Errorf("restore --dry-run: %s", said)
	}
	f.restore(t)
	if got := f.nodeState(t); got != before {
		t.Errorf("after the restore:\n%s\nbefore:\n%s", got, before)
	}
	if got := f.shims(t); !allAlive(shims, got) {
		t.Errorf("processes after the restore\n%s\nbefore\n%s", got, shims)
	}
	f.checkWorks(t, "")
}

// program writes a one-file Go program with the given code after its package clause, and
// returns the --build flag for it. The executable is extended by a number of bytes that
// cannot be compressed.
func (f *fixture) program(t testing.TB, code string, more int) string {
	t.Helper()
	dir := filepath.Join(f.dir, strings.NewReplacer("/", "_", " ", "_", ",", "").Replace(t.Name()))
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "main.go"), []byte("package main\n"+code+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	return "--build=cd " + dir + " && CGO_ENABLED=0 go build -o $OUT main.go && head -c " + strconv.Itoa(more) + " /dev/urandom >>$OUT"
}

const (
	crashes = `func main() { println("I crash\x1b[2J"); panic("at once") }`
	hangs   = `import ("os/signal"; "syscall"; "time"); func main() { signal.Ignore(syscall.SIGTERM); println("I hang"); time.Sleep(time.Hour) }`
)

// TestDeployFails runs deploys that fail. The node must be as before, and the message
// must say so.
func TestDeployFails(t *testing.T) {
	f := setup(t)
	f.restore(t)
	pod := f.startPod(t)
	f.waitPod(t, pod)
	shims := f.shims(t)
	for _, tt := range []struct {
		name    string
		code    string
		prepare func(t *testing.T)
		want    failure
		says    string // before the error
		restart bool   // containerd was restarted meanwhile
	}{
		{"compile error", "func main() {", nil, failure{5, "the build failed", "nothing was changed"}, "syntax error", false},
		{"crashes", crashes, nil, failure{4, "the process has exited", "runs again"}, "\n  I crash\\x1b[2J\n", true},
		{"hangs", hangs, nil, failure{4, "is activating", "runs again"}, "\n  I hang\n", true},
		{"masked", crashes, func(t *testing.T) {
			f.root(t, "systemctl mask --quiet --runtime containerd")
			t.Cleanup(func() { f.root(t, "systemctl unmask --quiet --runtime containerd") })
		}, failure{4, "containerd.service is masked", "systemctl unmask"}, "", false},
		{"containers would end", crashes, func(t *testing.T) {
			const dir = "/run/systemd/system/containerd.service.d"
			f.root(t, "mkdir -p "+dir+"; printf '[Service]\\nKillMode=control-group\\n' >"+dir+"/kill.conf; systemctl daemon-reload")
			t.Cleanup(func() { f.root(t, "rm -r "+dir+"; systemctl daemon-reload") })
		}, failure{4, "KillMode=control-group", "--force"}, "", false},
		{"no room", crashes, func(t *testing.T) { f.shrinkAgentDisk(t) }, failure{3, "MB left", "make room"}, "", false},
		{"read-only", crashes, func(t *testing.T) {
			f.bindMount(t, "ro")
		}, failure{4, "mounted read-only", "mount it writable"}, "", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before, pid := f.nodeState(t), f.containerd(t)
			flag := f.program(t, tt.code, 30<<20)
			t.Run("deploy", func(t *testing.T) {
				if tt.prepare != nil {
					tt.prepare(t)
				}
				if _, said := checkFailsOutput(t, f.deployCommand(t, "--ready", "5s", flag), tt.want); !strings.Contains(said, tt.says) {
					t.Errorf("no %q in %s", tt.says, said)
				}
			})
			if now := f.containerd(t); (now != pid) != tt.restart {
				t.Errorf("containerd was pid %d and is %d", pid, now)
			}
			f.removeAgent(t)
			if after := f.nodeState(t); after != before {
				t.Errorf("after:\n%s\nbefore:\n%s", after, before)
			}
			if got := f.shims(t); got != shims {
				t.Errorf("processes\n%s\nbefore\n%s", got, shims)
			}
		})
	}
	f.checkWorks(t, "")
}

// removeAgent removes the agent from the node, and checks that no deploy has left
// anything.
func (f *fixture) removeAgent(t *testing.T) {
	t.Helper()
	if said := f.restore(t); !strings.Contains(said, "nothing was deployed on this node") {
		t.Errorf("restore had to do something: %s", said)
	}
}

// bindMount mounts containerd's directory over itself with the options until the test
// ends.
func (f *fixture) bindMount(t *testing.T, options string) {
	t.Helper()
	f.root(t, "mount --bind /usr/bin /usr/bin && mount -o remount,bind,"+options+" /usr/bin")
	t.Cleanup(func() { f.root(t, "umount -l /usr/bin") })
}

// shrinkAgentDisk puts the directory in which the agent keeps originals on a small disk.
func (f *fixture) shrinkAgentDisk(t *testing.T) {
	t.Helper()
	f.root(t, "mkdir -p /var/lib/minikube/dapbridge && mount -t tmpfs -o size=48M,mode=700 tmpfs /var/lib/minikube/dapbridge")
	t.Cleanup(func() {
		f.root(t, "umount -l /var/lib/minikube/dapbridge")
	})
}

// TestDeployInterrupted ends a deploy in several ways, on the host and on the node,
// during the upload and the restart. The node recovers by itself, or restore completes
// it.
func TestDeployInterrupted(t *testing.T) {
	f := setupAll(t)
	f.restore(t)
	pod := f.startPod(t)
	f.waitPod(t, pod)
	shims := f.shims(t)
	const sends, restarts = "uploading the build", "restarting ..."
	killHost := func(t *testing.T, p *os.Process, _ *testbed.Proxy) { p.Kill() }
	interrupt := func(t *testing.T, p *os.Process, _ *testbed.Proxy) { p.Signal(os.Interrupt) }
	cut := func(t *testing.T, _ *os.Process, wire *testbed.Proxy) { wire.Cut() }
	killAgent := func(t *testing.T, _ *os.Process, _ *testbed.Proxy) {
		eventually(t, 5*time.Second, func() string {
			if len(f.agentProcesses(t)["swap"]) == 0 {
				return "the node has not begun"
			}
			return ""
		})
		f.signal(t, unix.SIGKILL, "swap")
	}
	for _, tt := range []struct {
		name   string
		when   string // it says this
		end    func(*testing.T, *os.Process, *testbed.Proxy)
		status int
		alone  bool // the node puts all right by itself
	}{
		{"sending, Ctrl-C", sends, interrupt, 130, true},
		{"sending, killed", sends, killHost, -1, true},
		{"sending, cut", sends, cut, 3, true},
		{"sending, agent killed", sends, killAgent, 3, false},
		{"restarting, Ctrl-C", restarts, interrupt, 130, true},
		{"restarting, killed", restarts, killHost, -1, true},
		{"restarting, cut", restarts, cut, 3, true},
		{"restarting, agent killed", restarts, killAgent, 3, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := f.nodeState(t)
			proxy, args := f.proxy(t)
			args = append([]string{"deploy", "--ready", "8s", f.program(t, hangs, 40<<20)}, args...)
			cmd := f.command(t.Context(), userUID, args...)
			said := &testenv.Buffer{}
			cmd.Stdout, cmd.Stderr = said, said
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			eventually(t, time.Minute, func() string {
				if !strings.Contains(said.String(), tt.when) {
					return "it does not say " + tt.when + " yet: " + said.String()
				}
				return ""
			})
			tt.end(t, cmd.Process, proxy)
			cmd.Wait()
			if got := cmd.ProcessState.ExitCode(); got != tt.status {
				t.Errorf("exit status %d, want %d: %s", got, tt.status, said)
			}
			if tt.alone {
				eventually(t, time.Minute, func() string {
					if left := f.agentProcesses(t)["swap"]; len(left) > 0 {
						return "the node still works on it"
					}
					return ""
				})
				f.removeAgent(t)
			} else {
				f.restore(t)
			}
			if after := f.nodeState(t); after != before {
				t.Errorf("after:\n%s\nbefore:\n%s", after, before)
			}
			if got := f.shims(t); got != shims {
				t.Errorf("processes\n%s\nbefore\n%s", got, shims)
			}
			f.checkWorks(t, "")
		})
	}
}
