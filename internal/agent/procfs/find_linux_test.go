package procfs

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dapbridge/dapbridge/internal/api"
	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/exe/exetest"
	"github.com/dapbridge/dapbridge/internal/testenv"
)

func TestFindPID(t *testing.T) {
	path := exetest.Build(t, "sleeper")
	pid := start(t, exec.Command(path, "2"))
	p, err := Find(t.Context(), api.Selector{Name: "nothing", PID: pid})
	if err != nil {
		t.Fatal(err)
	}
	testenv.Equal(t, "PID", p.PID, pid)
	testenv.Equal(t, "Exe", p.Exe, path)
	testenv.Equal(t, "ExeDeleted", p.ExeDeleted, false)
	testenv.Equal(t, "Parent", p.Parent, os.Getpid())
	testenv.Equal(t, "UID", int(p.UID), os.Geteuid())
	testenv.Equal(t, "Args", p.Args, []string{path, "2"})
	testenv.Equal(t, "number of NSPids", len(p.NSPids), 1)
	if p.StartTicks == 0 {
		t.Error("StartTicks is 0")
	}
	if age := time.Since(p.StartTime); age < -2*time.Second || age > time.Minute {
		t.Errorf("started %v ago", age)
	}
}

func TestFindPIDOfNoProcess(t *testing.T) {
	ended := exec.Command("true")
	if err := ended.Start(); err != nil {
		t.Fatal(err)
	}
	pid := ended.Process.Pid
	waitFor(t, func() bool { st, err := readStat(pid); return err == nil && st.state == 'Z' })
	thread := 0
	sleeper := start(t, exec.Command(exetest.Build(t, "sleeper", "-trimpath"), "4"))
	for tid := range statesOf(t, sleeper) {
		if tid != sleeper {
			thread = tid
		}
	}
	for what, pid := range map[string]int{"zombie": pid, "thread": thread, "negative": -1, "none": 1 << 30} {
		if p, err := Find(t.Context(), api.Selector{PID: pid}); diag.CodeOf(err) != diag.TargetNone {
			t.Errorf("%s: %+v, %v", what, p, err)
		}
	}
	if err := ended.Wait(); err != nil {
		t.Error(err)
	}
}

func TestFindName(t *testing.T) {
	name := fmt.Sprintf("sleeper-%d", os.Getpid())
	path := buildAs(t, name)
	t.Setenv("PATH", "") // no systemctl
	find := func() (api.Process, error) { return Find(t.Context(), api.Selector{Name: name}) }
	if p, err := find(); diag.CodeOf(err) != diag.TargetNone {
		t.Fatalf("%+v, %v", p, err)
	}
	start(t, exec.Command(copyOf(t, path, name+"-shim")))
	start(t, exec.Command(copyOf(t, path, "other"), name))
	first := start(t, exec.Command(path))
	if p, err := find(); err != nil || p.PID != first {
		t.Fatalf("%+v, %v", p, err)
	}
	second := start(t, exec.Command(copyOf(t, path, name)))
	_, err := find()
	if diag.CodeOf(err) != diag.TargetSeveral {
		t.Fatal(err)
	}
	text := err.Error()
	for _, pid := range []int{first, second} {
		if want := fmt.Sprint(pid, " ("); !strings.Contains(text, want) {
			t.Errorf("%q lacks %q", text, want)
		}
	}
	if strings.Contains(text, "\n") {
		t.Errorf("%q has several lines", text)
	}
}

func TestFindNameAmongMany(t *testing.T) {
	name := fmt.Sprintf("many-%d", os.Getpid())
	path := buildAs(t, name)
	t.Setenv("PATH", "")
	for range 10 {
		start(t, exec.Command(path))
	}
	_, err := Find(t.Context(), api.Selector{Name: name})
	if text := fmt.Sprint(err); strings.Count(text, "since") != severalLimit || !strings.HasPrefix(text, "10 processes") {
		t.Error(text)
	}
}

// The service's main process takes precedence if it runs the named executable.
func TestFindNameOfService(t *testing.T) {
	name := fmt.Sprintf("service-%d", os.Getpid())
	path := buildAs(t, name)
	first, second := start(t, exec.Command(path)), start(t, exec.Command(path))
	fakeSystemctl(t, fmt.Sprintf(`test "$5" = %s.service && echo MainPID=%d`, name, second))
	if p, err := Find(t.Context(), api.Selector{Name: name}); err != nil || p.PID != second {
		t.Errorf("%+v, %v; others %d", p, err, first)
	}
	other := start(t, exec.Command(copyOf(t, path, "other")))
	fakeSystemctl(t, fmt.Sprint("echo MainPID=", other))
	if p, err := Find(t.Context(), api.Selector{Name: name}); diag.CodeOf(err) != diag.TargetSeveral {
		t.Errorf("%+v, %v", p, err)
	}
}

func TestFindNameInContainer(t *testing.T) {
	testenv.NeedsRoot(t, "it makes a pid namespace")
	name := fmt.Sprintf("inside-%d", os.Getpid())
	path := buildAs(t, name)
	t.Setenv("PATH", "")
	inside := exec.Command(path)
	inside.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID}
	pid := start(t, inside)
	p, err := Find(t.Context(), api.Selector{Name: name})
	if err != nil {
		t.Fatal(err)
	}
	testenv.Equal(t, "PID", p.PID, pid)
	testenv.Equal(t, "NSPids", p.NSPids, []int{pid, 1})
	outside := start(t, exec.Command(path))
	if p, err := Find(t.Context(), api.Selector{Name: name}); err != nil || p.PID != outside {
		t.Errorf("%+v, %v", p, err)
	}
	start(t, exec.Command(path))
	_, err = Find(t.Context(), api.Selector{Name: name})
	if want := fmt.Sprintf("%d (in a container, since ", pid); diag.CodeOf(err) != diag.TargetSeveral || !strings.Contains(err.Error(), want) {
		t.Errorf("%v, want …%s…", err, want)
	}
}

func TestKernelThread(t *testing.T) {
	testenv.NeedsRoot(t, "it reads another user's process")
	st, err := readStat(2)
	if err != nil || st.flags&flagKernelThread == 0 {
		testenv.Skipf(t, "no kernel threads in this pid namespace")
	}
	if _, err := Find(t.Context(), api.Selector{PID: 2}); diag.CodeOf(err) != diag.TargetNotGo {
		t.Error(err)
	}
	if _, err := OpenExe(2); diag.CodeOf(err) != diag.TargetNotGo {
		t.Error(err)
	}
}

func TestList(t *testing.T) {
	path := exetest.Build(t, "sleeper", "-gcflags=all=-N -l")
	first := start(t, exec.Command(path))
	second := start(t, exec.Command(path))
	stripped := start(t, exec.Command(exetest.Build(t, "sleeper", "-ldflags=-s -w")))
	list, err := ListCandidates(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	found := map[int]api.Candidate{}
	for _, c := range list {
		found[c.Process.PID] = c
	}
	for _, pid := range []int{first, second} {
		c := found[pid]
		if c.Build == nil || c.Optimisation == nil {
			t.Fatalf("%d: %+v", pid, c)
		}
		testenv.Equal(t, "optimised packages", c.Optimisation.Optimised, 0)
		testenv.Equal(t, "Exe", c.Process.Exe, path)
	}
	c := found[stripped]
	if c.Build == nil || !c.Build.Stripped {
		t.Errorf("the stripped program's build is %+v", c.Build)
	}
	if c.Optimisation != nil {
		t.Errorf("the stripped program's optimisation is %+v", c.Optimisation)
	}
	if _, ok := found[os.Getpid()]; ok {
		t.Error("this process is in its own list")
	}
}

func TestListOrder(t *testing.T) {
	list := []api.Candidate{{Process: api.Process{PID: 1}}, {Process: api.Process{PID: 3}, Main: true}, {Process: api.Process{PID: 2}, Main: true}, {Process: api.Process{PID: 4}}}
	sortCandidates(list)
	var got []int
	for _, c := range list {
		got = append(got, c.Process.PID)
	}
	if fmt.Sprint(got) != "[2 3 1 4]" {
		t.Error(got)
	}
}

// buildAs builds the sleeper under a unique name.
func buildAs(t *testing.T, name string) string {
	t.Helper()
	path := exetest.Build(t, "sleeper")
	other := filepath.Join(filepath.Dir(path), name)
	if err := os.Rename(path, other); err != nil {
		t.Fatal(err)
	}
	return other
}

// waitFor fails the test unless ok returns true within some seconds.
func waitFor(t *testing.T, ok func() bool) {
	t.Helper()
	if !testenv.Eventually(5*time.Second, ok) {
		t.Fatal("the condition was not met in time")
	}
}
