package swap

import (
	"reflect"
	"strings"
	"testing"

	"github.com/dapbridge/dapbridge/internal/api"
	"github.com/dapbridge/dapbridge/internal/testenv"
)

func TestParseShow(t *testing.T) {
	const text = `MainPID=261
Result=success
ExecStart={ path=/usr/bin/containerd ; argv[]=/usr/bin/containerd --config x ; ignore_errors=no ; pid=261 ; status=0/0 }
KillMode=process
NeedDaemonReload=no
LoadState=loaded
ActiveState=activating
SubState=auto-restart
`
	u := parseShow(text)
	want := unitState{load: "loaded", active: "activating", sub: "auto-restart", result: "success", mainPID: 261, killMode: "process", exec: "/usr/bin/containerd"}
	if u != want {
		t.Errorf("%+v", u)
	}
	if u.crashError() == nil {
		t.Error("a unit that waits to be started again has not crashed")
	}
	if u.job = "42"; u.crashError() != nil {
		t.Error("a unit that is being started has crashed")
	}
	if u := parseShow("LoadState=masked\n"); u.crashError() == nil {
		t.Error("a masked unit will start")
	}
}

func FuzzParseShow(f *testing.F) {
	f.Add("ExecStart={ path=/x ; argv[]=/x }\nMainPID=x\n")
	f.Fuzz(func(t *testing.T, text string) {
		if u := parseShow(text); strings.Contains(u.load+u.active+u.sub, "\n") {
			t.Errorf("%+v", u)
		}
	})
}

// TestExecStart compares settings with what systemd.syntax(7) requires.
func TestExecStart(t *testing.T) {
	for _, tt := range []struct {
		program string
		argv    []string
		want    string
	}{
		{"/usr/bin/containerd", []string{"/usr/bin/containerd", "-l", "debug"}, `ExecStart="/usr/bin/containerd" "-l" "debug"`},
		{"/usr/bin/containerd", []string{"containerd"}, `ExecStart="@/usr/bin/containerd" "containerd"`},
		{"/x", []string{"/x", `a "b" \c`, "$HOME", "%n", "two\nlines", ""}, `ExecStart="/x" "a \"b\" \\c" "$$HOME" "%%n" "two\x0alines" ""`},
	} {
		got := formatExecStart(tt.program, tt.argv)
		testenv.Equal(t, tt.program, got, []string{"ExecStart=", tt.want})
	}
}

func TestSurvives(t *testing.T) {
	task := []api.Task{{PID: 1}}
	for _, tt := range []struct {
		mode string
		in   []api.Task
		ok   bool
	}{{"process", task, true}, {"none", task, true}, {"control-group", task, false}, {"mixed", task, false}, {"control-group", nil, true}} {
		if err := checkSurvival(unitState{killMode: tt.mode}, "x.service", tt.in); (err == nil) != tt.ok {
			t.Errorf("%s with %d: %v", tt.mode, len(tt.in), err)
		}
	}
}

func TestLost(t *testing.T) {
	before := []api.Task{{PID: 1, StartTicks: 10, Name: "a"}, {PID: 2, StartTicks: 20, Name: "b"}}
	if got := findLost(before, []api.Task{{PID: 1, StartTicks: 10, Name: "a"}, {PID: 2, StartTicks: 21, Name: "b"}, {PID: 3, StartTicks: 30, Name: "c"}}); !reflect.DeepEqual(got, before[1:]) {
		t.Errorf("%+v", got)
	}
}
