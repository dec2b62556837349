package main

import (
	"io"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/dapbridge/dapbridge/internal/testenv"
)

// inspectResult is the node's report on a target that can be replaced.
const inspectResult = `{"result":{"unit":"containerd.service","path":"/usr/bin/containerd","pid":4711,"sha256":"x","origin":{"arch":"` + runtime.GOARCH + `"}}}` + "\n"

// deployWell is the result of a successful deploy.
const deployWell = `{"result":{"unit":"containerd.service","newPID":4712,"served":1}}` + "\n"

// repeatFor returns a handler that writes line again and again for some time, then last.
func repeatFor(line string, duration time.Duration, last string) func(io.ReadWriter) int {
	return func(rw io.ReadWriter) int {
		for end := time.Now().Add(duration); time.Now().Before(end); time.Sleep(idleTimeout / 10) {
			io.WriteString(rw, line)
		}
		io.WriteString(rw, last)
		return 0
	}
}

// receiveBuild returns a handler that requests the build with the line ask and ends once it
// has arrived.
func receiveBuild(ask string) func(io.ReadWriter) int {
	return func(rw io.ReadWriter) int {
		io.WriteString(rw, ask)
		io.Copy(io.Discard, rw)
		io.WriteString(rw, deployWell)
		return 0
	}
}

// TestHostileDeploy runs deploys on nodes that go silent at some stage, or ask for files
// that they must not get.
func TestHostileDeploy(t *testing.T) {
	testenv.SkipShort(t, "it takes long")
	testenv.NeedsLinux(t, "it builds by a command for sh")
	cache, err := exec.Command("go", "env", "GOCACHE").Output()
	if err != nil {
		t.Fatal(err)
	}
	// More than an SSH window, and incompressible.
	const build = `--build=printf 'package main\nfunc main() {}\n' >"$OUT.go" && CGO_ENABLED=0 go build -o "$OUT" "$OUT.go" && head -c 4000000 /dev/urandom >>"$OUT"`
	deploy := []string{"deploy", build}
	agent := func(inspect, deploy func(io.ReadWriter) int) *hostileNode {
		return &hostileNode{start: (&scriptedAgent{}).run, inspect: inspect, deploy: deploy}
	}
	for _, tt := range []struct {
		name string
		node *hostileNode
		args []string
		want outcome
	}{
		{"silent before the deploy", agent(leaveOpen(printAndHang("")), nil), deploy, outcome{3, "no message from the inspect within"}},
		{"a state without end", agent(printForever("", "x"), nil), deploy, outcome{3, "token too long"}},
		{"a malformed state", agent(printAndExit("[1]\n", 0), nil), deploy, outcome{3, "lost sight of the node"}},
		{"silent and reads nothing", agent(printAndExit(inspectResult, 0), leaveOpen(printAndExit(`{"progress":{"step":"receiving","former":"x"}}`+"\n", 0))), deploy, outcome{3, "no message from the deploy within"}},
		{"silent and reads", agent(printAndExit(inspectResult, 0), leaveOpen(printAndHang(`{"progress":{"step":"receiving"}}`+"\n"))), deploy, outcome{3, "no message from the deploy within"}},
		{"silent at the restart", agent(printAndExit(inspectResult, 0), leaveOpen(printAndHang(`{"progress":{"step":"restarting"}}`+"\n"))), deploy, outcome{3, "may have completed the change on its own"}},
		{"asks by a path", agent(printAndExit(inspectResult, 0), receiveBuild(`{"progress":{"step":"receiving","former":"../../../../etc/passwd"}}`+"\n")), deploy, outcome{0, "the whole build, compressed"}},
		{"gives signs of life within the idle timeout", agent(printAndExit(inspectResult, 0), repeatFor("{}\n", busyTimeout+idleTimeout, deployWell)), deploy, outcome{0, "is running the build"}},
		{"silent before a restore", &hostileNode{start: (&scriptedAgent{}).run, restore: leaveOpen(printAndHang(""))}, []string{"restore"}, outcome{3, "no message from the restore within"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv("GOCACHE", strings.TrimSpace(string(cache)))
			tt.node.serve(t)
			wait := idleTimeout
			if tt.want.status == 0 {
				wait = busyTimeout
			}
			start := time.Now()
			status, out := invokeOn(t, tt.node, wait, tt.args[0], tt.args[1:]...)
			if took := time.Since(start); took > 30*time.Second {
				t.Errorf("took %s", took)
			}
			tt.want.check(t, status, out)
		})
	}
}

// TestHostileNames has a node name the target's executable with terminal control
// characters: the build gets a name of ours.
func TestHostileNames(t *testing.T) {
	cache, err := exec.Command("go", "env", "GOCACHE").Output()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("GOCACHE", strings.TrimSpace(string(cache))) // the test's home directory has none
	for name, want := range map[string]string{`\u001b]0;owned\u0007\u001b[2J`: "built target: ", "lock": "built lock: ", "..": "built target: "} {
		state := `{"result":{"unit":"containerd.service","path":"/usr/bin/` + name + `","pid":4711,"sha256":"x","origin":{"arch":"` + runtime.GOARCH + `"}}}` + "\n"
		const build = `--build=printf 'package main\nfunc main() {}\n' >x.go && CGO_ENABLED=0 go build -o "$OUT" x.go`
		node := &hostileNode{start: (&scriptedAgent{}).run, inspect: printAndExit(state, 0), deploy: receiveBuild(`{"progress":{"step":"receiving"}}` + "\n")}
		node.serve(t)
		_, out := invokeOn(t, node, busyTimeout, "deploy", build, t.TempDir())
		if strings.Contains(out, "\x1b]") {
			t.Errorf("%s: the output has control characters: %q", name, out)
		}
		if !strings.Contains(out, want) {
			t.Errorf("%s: got %q, want …%s…", name, out, want)
		}
	}
}

// TestRestoreCut loses the connection during a restore: the message must not say that
// nothing was changed.
func TestRestoreCut(t *testing.T) {
	node := &hostileNode{start: (&scriptedAgent{}).run, restore: printAndExit("{}\n", 255)}
	node.serve(t)
	status, out := invokeOn(t, node, busyTimeout, "restore")
	outcome{3, "run the command again"}.check(t, status, out)
	if strings.Contains(out, "nothing was changed") {
		t.Errorf("the message claims that nothing was changed: %q", out)
	}
}
