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

// inspected is what a node says of a target that may be swapped.
const inspected = `{"result":{"unit":"containerd.service","path":"/usr/bin/containerd","pid":4711,"sha256":"x","origin":{"arch":"` + runtime.GOARCH + `"}}}` + "\n"

// deployWell is a deploy's good end.
const deployWell = `{"result":{"unit":"containerd.service","newPID":4712,"served":1}}` + "\n"

// beatFor writes a line again and again for so long, and then another one.
func beatFor(line string, long time.Duration, last string) func(io.ReadWriter) int {
	return func(rw io.ReadWriter) int {
		for end := time.Now().Add(long); time.Now().Before(end); time.Sleep(idleTimeout / 10) {
			io.WriteString(rw, line)
		}
		io.WriteString(rw, last)
		return 0
	}
}

// takeAll asks for the build with a line and ends when it has come.
func takeAll(ask string) func(io.ReadWriter) int {
	return func(rw io.ReadWriter) int {
		io.WriteString(rw, ask)
		io.Copy(io.Discard, rw)
		io.WriteString(rw, deployWell)
		return 0
	}
}

// TestHostileDeploy has a node go silent at each stage of a deploy, or ask for
// what it should not get.
func TestHostileDeploy(t *testing.T) {
	testenv.NeedsLinux(t, "it builds by a command for sh")
	cache, err := exec.Command("go", "env", "GOCACHE").Output()
	if err != nil {
		t.Fatal(err)
	}
	// More than a window of SSH's, and nothing that compression shortens.
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
		{"silent before", agent(stays(stalls("")), nil), deploy, outcome{3, "no message from the inspect within"}},
		{"a state without end", agent(floods("", "x"), nil), deploy, outcome{3, "token too long"}},
		{"a state that is none", agent(says("[1]\n", 0), nil), deploy, outcome{3, "lost sight of the node"}},
		{"silent and reads nothing", agent(says(inspected, 0), stays(says(`{"progress":{"step":"receiving","former":"x"}}`+"\n", 0))), deploy, outcome{3, "no message from the deploy within"}},
		{"silent and reads", agent(says(inspected, 0), stays(stalls(`{"progress":{"step":"receiving"}}`+"\n"))), deploy, outcome{3, "no message from the deploy within"}},
		{"silent at the restart", agent(says(inspected, 0), stays(stalls(`{"progress":{"step":"restarting"}}`+"\n"))), deploy, outcome{3, "may have ended what it began"}},
		{"asks by a path", agent(says(inspected, 0), takeAll(`{"progress":{"step":"receiving","former":"../../../../etc/passwd"}}`+"\n")), deploy, outcome{0, "the whole build, compressed"}},
		{"gives signs of life within the idle timeout", agent(says(inspected, 0), beatFor("{}\n", 4*idleTimeout, deployWell)), deploy, outcome{0, "is running the build"}},
		{"silent before a restore", &hostileNode{start: (&scriptedAgent{}).run, restore: stays(stalls(""))}, []string{"restore"}, outcome{3, "no message from the restore within"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv("GOCACHE", strings.TrimSpace(string(cache)))
			tt.node.serve(t)
			wait := idleTimeout
			if tt.want.status == 0 {
				wait = 3 * idleTimeout // a busy machine may pause
			}
			start := time.Now()
			status, out := invokeOn(t, tt.node, wait, tt.args[0], tt.args[1:]...)
			if took := time.Since(start); took > 30*time.Second {
				t.Errorf("took %s", took)
			}
			if status != tt.want.status || !strings.Contains(out, tt.want.says) {
				t.Errorf("exit status %d, want %d: …%s…\n%.4000s", status, tt.want.status, tt.want.says, out)
			}
		})
	}
}

// TestHostileNames has a node name the target's executable so that a terminal would
// obey: what is built for it, by a command of the user's, has a name of ours.
func TestHostileNames(t *testing.T) {
	cache, err := exec.Command("go", "env", "GOCACHE").Output()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("GOCACHE", strings.TrimSpace(string(cache))) // the home is the test's
	for name, want := range map[string]string{`\u001b]0;owned\u0007\u001b[2J`: "built target: ", "lock": "built lock: ", "..": "built target: "} {
		state := `{"result":{"unit":"containerd.service","path":"/usr/bin/` + name + `","pid":4711,"sha256":"x","origin":{"arch":"` + runtime.GOARCH + `"}}}` + "\n"
		const build = `--build=printf 'package main\nfunc main() {}\n' >x.go && CGO_ENABLED=0 go build -o "$OUT" x.go`
		node := &hostileNode{start: (&scriptedAgent{}).run, inspect: says(state, 0), deploy: takeAll(`{"progress":{"step":"receiving"}}` + "\n")}
		node.serve(t)
		if _, out := invokeOn(t, node, 3*idleTimeout, "deploy", build, t.TempDir()); strings.Contains(out, "\x1b]") || !strings.Contains(out, want) {
			t.Errorf("%s: %q", name, out)
		}
	}
}

// TestRestoreCut loses a node at work on a restore: nobody says that it has changed
// nothing.
func TestRestoreCut(t *testing.T) {
	node := &hostileNode{start: (&scriptedAgent{}).run, restore: says("{}\n", 255)}
	node.serve(t)
	if status, out := invokeOn(t, node, 3*idleTimeout, "restore"); status != 3 || strings.Contains(out, "nothing was changed") || !strings.Contains(out, "run the command again") {
		t.Errorf("%d, %q", status, out)
	}
}
