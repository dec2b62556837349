package doctor_test

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/dapbridge/dapbridge/internal/api"
	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/exe"
	"github.com/dapbridge/dapbridge/internal/host/doctor"
)

// healthyFacts returns the facts of a node without problems.
func healthyFacts() doctor.Facts {
	return doctor.Facts{
		Node: doctor.Node{Name: "minikube", Local: true, Why: "a minikube profile"},
		Agent: &doctor.Agent{
			Platform: "linux/amd64", Root: "sudo", System: "Debian GNU/Linux 12", Kernel: "6.1.0", CgroupV2: true,
			Dir: "/var/lib/dapbridge", Free: 1 << 30, Rsync: "/usr/bin/rsync",
			Kubelet: &api.Kubelet{PID: 500, Endpoint: "unix:///run/containerd/containerd.sock", Runtime: 812, RuntimeExe: "/usr/bin/containerd"},
		},
		Target: &api.Process{PID: 812, Exe: "/usr/bin/containerd", Unit: "containerd.service", Args: []string{"/usr/bin/containerd", "-l", "debug"}},
		Build: &exe.Build{
			GoVersion: "go1.26.8", ModulePath: "github.com/containerd/containerd/v2", ModuleVersion: "v2.4.2",
			MainFile: "/go/src/containerd/cmd/containerd/main.go",
		},
		Optimisation: &exe.Optimisation{Packages: 1004},
		Source:       doctor.Source{Root: "/home/you/containerd", Files: 3237, OnHost: 3237, OnNode: true},
		Host:         doctor.Host{Rsync: "/usr/bin/rsync"},
	}
}

// strip returns a change to facts about a stripped target whose symbols have not been
// built.
func strip(goVersion string) func(*doctor.Facts) {
	return func(f *doctor.Facts) {
		f.Build.Stripped, f.Build.GoVersion, f.Optimisation = true, goVersion, nil
		f.Source.Command = "dapbridge symbols --target x"
	}
}

func findCheck(t *testing.T, r doctor.Report, name string) doctor.Check {
	t.Helper()
	i := slices.IndexFunc(r.Checks, func(c doctor.Check) bool { return c.Name == name })
	if i < 0 {
		t.Fatalf("no check %s", name)
	}
	return r.Checks[i]
}

func TestHealthyNode(t *testing.T) {
	r := doctor.Examine(healthyFacts())
	for _, c := range r.Checks {
		if c.Status != doctor.OK {
			t.Errorf("status %s, want ok: %+v", c.Status, c)
		}
		if c.Found == "" {
			t.Errorf("it does not say what was found: %+v", c)
		}
		if c.Why != "" || c.Remedy != "" {
			t.Errorf("an OK check has a reason or a remedy: %+v", c)
		}
	}
	checkExitStatus(t, r, 0)
	if got := len(r.Checks); got != 19 {
		t.Errorf("%d checks, want 19", got)
	}
}

// TestProblems breaks one thing at a time: its check reports it, with the reason
// and a remedy, and no other check is affected.
func TestProblems(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*doctor.Facts)
		check  string
		status doctor.Status
		says   []string
		also   []string // other checks that are affected
	}{
		"shared": {func(f *doctor.Facts) { f.Node.Local = false }, "node", doctor.Warning, []string{"cluster of your own"}, nil},
		"cloud":  {func(f *doctor.Facts) { f.Agent.Kubelet.Cloud = "aws" }, "node", doctor.Warning, []string{"the cloud aws"}, nil},
		"arm64":  {func(f *doctor.Facts) { f.Agent.Platform = "linux/arm64" }, "platform", doctor.Warning, []string{"untested on arm64"}, nil},
		"no tracing": {func(f *doctor.Facts) {
			f.Agent.TracingFailure = "operation not permitted"
			f.Agent.Obstacles = []string{"a filter"}
		}, "tracing", doctor.Failed, []string{"operation not permitted; a filter", "seccomp"}, nil},
		"frozen":       {func(f *doctor.Facts) { f.Agent.Frozen = true }, "cgroup", doctor.Failed, []string{"systemctl thaw"}, nil},
		"little space": {func(f *doctor.Facts) { f.Agent.Free = 100 << 20 }, "disk", doctor.Warning, []string{"100 MB free", "dapbridge symbols --remove"}, nil},
		"dockerd": {func(f *doctor.Facts) {
			f.Agent.Kubelet.Runtime, f.Agent.Kubelet.RuntimeExe = 900, "/usr/bin/cri-dockerd"
		}, "runtime", doctor.Warning, []string{"served by cri-dockerd (pid 900), not by /usr/bin/containerd (pid 812)", "--pid 900"}, nil},
		"started on demand": {func(f *doctor.Facts) { f.Agent.Kubelet.Runtime, f.Agent.Kubelet.RuntimeExe = 1, "/lib/systemd/systemd" }, "runtime", doctor.Warning, []string{"served by systemd's socket activation (pid 1)"}, nil},
		"no runtime":        {func(f *doctor.Facts) { f.Agent.Kubelet.Runtime = 0 }, "runtime", doctor.Warning, []string{"which nothing serves"}, nil},
		"replaced":          {func(f *doctor.Facts) { f.Target.ExeDeleted = true }, "target", doctor.Warning, []string{"systemctl restart containerd.service"}, nil},
		"traced": {func(f *doctor.Facts) {
			f.TracerErr = diag.Errorf(diag.TargetTraced, "pid 812 is traced by pid 9 (strace)")
		}, "tracer", doctor.Failed, []string{"pid 9 (strace)", "end the other debugger"}, nil},
		"stripped": {strip("go1.26.8"), "symbols", doctor.Warning, []string{
			"have not been built", "lines, stacks, goroutines and breakpoints, but no variables", "dapbridge symbols --target x",
		}, []string{"optimised"}},
		"stripped by old Go": {strip("go1.19.13"), "symbols", doctor.Failed, []string{"the function table of go1.19.13", "dapbridge symbols"}, []string{"optimised"}},
		"optimised":          {func(f *doctor.Facts) { f.Optimisation.Optimised = 1004 }, "optimised", doctor.Warning, []string{"1004 of its 1004 packages"}, nil},
		"another Go":         {func(f *doctor.Facts) { f.GoWarning = "built by go1.21" }, "go version", doctor.Warning, []string{"built by go1.21"}, nil},
		"no source":          {func(f *doctor.Facts) { f.Source.Problem = "no go.mod of containerd" }, "source", doctor.Warning, []string{"no go.mod", "--root DIR"}, []string{"source version"}},
		"stale source":       {func(f *doctor.Facts) { f.Source.Stale = "main.go has changed" }, "source version", doctor.Warning, []string{"main.go has changed"}, nil},
		"no rsync on host": {func(f *doctor.Facts) {
			f.Host = doctor.Host{RsyncErr: diag.Errorf(diag.NoRsync, "this machine's is openrsync")}
		}, "rsync", doctor.Warning, []string{"is openrsync", "brew install rsync"}, nil},
		"no rsync on node":  {func(f *doctor.Facts) { f.Agent.Rsync = "" }, "rsync", doctor.Warning, []string{"not installed on the node"}, nil},
		"no source on node": {func(f *doctor.Facts) { f.Source.OnNode = false }, "node's source", doctor.OK, []string{"does not need"}, nil},
		"symbols built":     {func(f *doctor.Facts) { f.Build.Stripped, f.Source.Symbols = true, true }, "symbols", doctor.OK, []string{"have been built"}, []string{"optimised"}},
		"main is optimised": {func(f *doctor.Facts) { f.Optimisation.Optimised, f.Optimisation.Main = 1, true }, "optimised", doctor.OK, []string{"only its main package"}, nil},
		"target is kubelet": {func(f *doctor.Facts) { f.Target.PID, f.Target.Exe = 500, "/usr/bin/kubelet" }, "runtime", doctor.OK, nil, nil},
		"trimpath":          {func(f *doctor.Facts) { f.Build.Trimpath = true }, "trimpath", doctor.OK, []string{"mapped anyway"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			f := healthyFacts()
			tt.change(&f)
			r := doctor.Examine(f)
			c := findCheck(t, r, tt.check)
			checkStatus(t, c, tt.status)
			if c.Status != doctor.OK && (c.Remedy == "" || c.Why == "") {
				t.Errorf("no reason or no remedy: %+v", c)
			}
			for _, part := range tt.says {
				if !strings.Contains(c.Found+"\n"+c.Why+"\n"+c.Remedy, part) {
					t.Errorf("%+v does not say %q", c, part)
				}
			}
			for _, other := range r.Checks {
				if other.Name != tt.check && !slices.Contains(tt.also, other.Name) {
					checkStatus(t, other, doctor.OK)
				}
			}
		})
	}
}

// TestExitStatus checks that a stripped target is a warning even if its symbols have been
// built.
func TestExitStatus(t *testing.T) {
	f := healthyFacts()
	f.Build.Stripped, f.Source.Symbols = true, true
	checkExitStatus(t, doctor.Examine(f), 1)
	f.Agent.Frozen = true
	checkExitStatus(t, doctor.Examine(f), 2)
}

// TestStages checks that, for each error, the checks before it pass and those that depend
// on it are skipped.
func TestStages(t *testing.T) {
	for code, check := range map[diag.Code]string{
		diag.NodeUnknown: "node", diag.NodeNotLocal: "node", diag.NodeUnreachable: "ssh", diag.HostKeyChanged: "ssh", diag.HostKeyUnknown: "ssh",
		diag.KeyRefused: "ssh", diag.IdentityUnusable: "ssh", diag.NoSudo: "sudo", diag.NodePlatform: "platform", diag.AgentUpload: "agent",
		diag.AgentMissing: "agent", diag.AgentProtocol: "agent", diag.LinkLost: "agent",
	} {
		t.Run(string(code), func(t *testing.T) {
			r := doctor.Examine(doctor.Facts{Node: doctor.Node{Name: "n", Local: true}, Err: diag.Errorf(code, "what happened")})
			checkExitStatus(t, r, 2)
			want := doctor.OK
			for _, c := range r.Checks {
				if c.Name != check {
					checkStatus(t, c, want)
					continue
				}
				checkStatus(t, c, doctor.Failed)
				if c.Found != "what happened" {
					t.Errorf("found %q, want the error", c.Found)
				}
				if c.Remedy == "" {
					t.Error("no remedy")
				}
				want = doctor.Skipped
			}
			if want != doctor.Skipped {
				t.Errorf("no check %s", check)
			}
		})
	}
}

// TestErrorOfNoStage checks that an error that belongs to no stage gets a check of its
// own, before all others.
func TestErrorOfNoStage(t *testing.T) {
	r := doctor.Examine(doctor.Facts{Err: errors.New("out of luck")})
	checkExitStatus(t, r, 2)
	c := r.Checks[0]
	checkStatus(t, c, doctor.Failed)
	if c.Name != "dapbridge" {
		t.Errorf("the first check is %s, want dapbridge", c.Name)
	}
}

// TestNoTarget checks that the node is still judged without a target.
func TestNoTarget(t *testing.T) {
	f := healthyFacts()
	f.Target, f.Build, f.Optimisation, f.Source = nil, nil, nil, doctor.Source{}
	f.TargetErr = diag.Errorf(diag.TargetNone, "no process with an executable named containerd")
	r := doctor.Examine(f)
	c := findCheck(t, r, "target")
	checkStatus(t, c, doctor.Failed)
	if !strings.Contains(c.Remedy, "dapbridge ps") {
		t.Errorf("remedy %q, want dapbridge ps", c.Remedy)
	}
	for _, name := range []string{"disk", "rsync", "runtime"} {
		checkStatus(t, findCheck(t, r, name), doctor.OK)
	}
	for _, name := range []string{"symbols", "source", "tracer"} {
		checkStatus(t, findCheck(t, r, name), doctor.Skipped)
	}
}

func TestReportJSON(t *testing.T) {
	raw, err := json.Marshal(doctor.Examine(healthyFacts()))
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"checks":[{"name":"node","status":"ok","found":"minikube (a minikube profile)"},`; !strings.HasPrefix(string(raw), want) {
		t.Errorf("got %s\nwant it to begin with %s", raw, want)
	}
}

func checkStatus(t *testing.T, c doctor.Check, want doctor.Status) {
	t.Helper()
	if c.Status != want {
		t.Errorf("check %s: status %s, want %s: %+v", c.Name, c.Status, want, c)
	}
}

func checkExitStatus(t *testing.T, r doctor.Report, want int) {
	t.Helper()
	if got := r.ExitStatus(); got != want {
		t.Errorf("exit status %d, want %d", got, want)
	}
}
