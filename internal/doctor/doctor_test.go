package doctor_test

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/doctor"
	"github.com/dapbridge/dapbridge/internal/target"
)

// good are the facts of a node on which nothing is wrong.
func healthyFacts() doctor.Facts {
	return doctor.Facts{
		Node: doctor.Node{Name: "minikube", Local: true, Why: "a minikube profile"},
		Agent: &doctor.Agent{
			Platform: "linux/amd64", Root: "sudo", System: "Debian GNU/Linux 12", Kernel: "6.1.0", CgroupV2: true,
			Dir: "/var/lib/dapbridge", Free: 1 << 30, Rsync: "/usr/bin/rsync",
			Kubelet: &target.Kubelet{PID: 500, Endpoint: "unix:///run/containerd/containerd.sock", Runtime: 812, RuntimeExe: "/usr/bin/containerd"},
		},
		Target: &target.Process{PID: 812, Exe: "/usr/bin/containerd", Unit: "containerd.service", Args: []string{"/usr/bin/containerd", "-l", "debug"}},
		Build: &target.Build{
			GoVersion: "go1.26.8", ModulePath: "github.com/containerd/containerd/v2", ModuleVersion: "v2.4.2",
			MainFile: "/go/src/containerd/cmd/containerd/main.go",
		},
		Optimisation: &target.Optimisation{Packages: 1004},
		Source:       doctor.Source{Root: "/home/you/containerd", Files: 3237, OnHost: 3237, OnNode: true},
		Host:         doctor.Host{Rsync: "/usr/bin/rsync"},
	}
}

func findCheck(t *testing.T, r doctor.Report, name string) doctor.Check {
	t.Helper()
	i := slices.IndexFunc(r.Checks, func(c doctor.Check) bool { return c.Name == name })
	if i < 0 {
		t.Fatalf("there is no check %s", name)
	}
	return r.Checks[i]
}

func TestNothingFound(t *testing.T) {
	r := doctor.Examine(healthyFacts())
	for _, c := range r.Checks {
		if c.Status != doctor.OK || c.Found == "" || c.Why != "" || c.Remedy != "" {
			t.Errorf("%+v", c)
		}
	}
	if r.ExitStatus() != 0 || len(r.Checks) != 19 {
		t.Errorf("exit status %d, %d checks", r.ExitStatus(), len(r.Checks))
	}
}

// TestFindings makes one thing wrong a time: its check says so, why it matters and
// what to do, and no other check minds.
func TestFindings(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*doctor.Facts)
		check  string
		status doctor.Status
		says   []string
		also   []string // other checks that mind
	}{
		"shared": {func(f *doctor.Facts) { f.Node.Local = false }, "node", doctor.Warning, []string{"cluster of your own"}, nil},
		"cloud":  {func(f *doctor.Facts) { f.Agent.Kubelet.Cloud = "aws" }, "node", doctor.Warning, []string{"the cloud aws"}, nil},
		"arm64":  {func(f *doctor.Facts) { f.Agent.Platform = "linux/arm64" }, "platform", doctor.Warning, []string{"nobody has tested"}, nil},
		"no tracing": {func(f *doctor.Facts) {
			f.Agent.TracingFailure = "operation not permitted"
			f.Agent.Obstacles = []string{"a filter"}
		}, "tracing", doctor.Failed, []string{"operation not permitted; a filter", "seccomp"}, nil},
		"frozen":       {func(f *doctor.Facts) { f.Agent.Frozen = true }, "cgroup", doctor.Failed, []string{"systemctl thaw"}, nil},
		"little space": {func(f *doctor.Facts) { f.Agent.Free = 100 << 20 }, "disk", doctor.Warning, []string{"100 MB are free", "dapbridge symbols --remove"}, nil},
		"dockerd": {func(f *doctor.Facts) {
			f.Agent.Kubelet.Runtime, f.Agent.Kubelet.RuntimeExe = 900, "/usr/bin/cri-dockerd"
		}, "runtime", doctor.Warning, []string{"cri-dockerd (pid 900) answers, and not /usr/bin/containerd (pid 812)", "--pid 900"}, nil},
		"started on demand": {func(f *doctor.Facts) { f.Agent.Kubelet.Runtime, f.Agent.Kubelet.RuntimeExe = 1, "/lib/systemd/systemd" }, "runtime", doctor.Warning, []string{"systemd, which starts the runtime on demand"}, nil},
		"no runtime":        {func(f *doctor.Facts) { f.Agent.Kubelet.Runtime = 0 }, "runtime", doctor.Warning, []string{"nobody answers"}, nil},
		"replaced":          {func(f *doctor.Facts) { f.Target.ExeDeleted = true }, "target", doctor.Warning, []string{"systemctl restart containerd.service"}, nil},
		"traced": {func(f *doctor.Facts) {
			f.TracerErr = diag.Errorf(diag.TargetTraced, "pid 812 is traced by pid 9 (strace)")
		}, "tracer", doctor.Failed, []string{"pid 9 (strace)", "end the other debugger"}, nil},
		"stripped":     {func(f *doctor.Facts) { f.Build.Stripped = true; f.Optimisation = nil }, "symbols", doctor.Warning, []string{"it is stripped", "dapbridge symbols"}, []string{"optimised"}},
		"optimised":    {func(f *doctor.Facts) { f.Optimisation.Optimised = 1004 }, "optimised", doctor.Warning, []string{"1004 of its 1004 packages"}, nil},
		"another Go":   {func(f *doctor.Facts) { f.GoWarning = "built by go1.21" }, "go version", doctor.Warning, []string{"built by go1.21"}, nil},
		"no source":    {func(f *doctor.Facts) { f.Source.Problem = "no go.mod of containerd" }, "source", doctor.Warning, []string{"no go.mod", "--root DIR"}, []string{"source version"}},
		"stale source": {func(f *doctor.Facts) { f.Source.Stale = "main.go has changed" }, "source version", doctor.Warning, []string{"main.go has changed"}, nil},
		"no rsync here": {func(f *doctor.Facts) {
			f.Host = doctor.Host{RsyncErr: diag.Errorf(diag.NoRsync, "this machine's is openrsync")}
		}, "rsync", doctor.Warning, []string{"is openrsync", "brew install rsync"}, nil},
		"no rsync there":     {func(f *doctor.Facts) { f.Agent.Rsync = "" }, "rsync", doctor.Warning, []string{"the node has none"}, nil},
		"no source there":    {func(f *doctor.Facts) { f.Source.OnNode = false }, "node's source", doctor.OK, []string{"does not need"}, nil},
		"symbols are built":  {func(f *doctor.Facts) { f.Build.Stripped, f.Source.Symbols = true, true }, "symbols", doctor.OK, []string{"have been built"}, []string{"optimised"}},
		"main is optimised":  {func(f *doctor.Facts) { f.Optimisation.Optimised, f.Optimisation.Main = 1, true }, "optimised", doctor.OK, []string{"main package alone"}, nil},
		"kubelet's debugged": {func(f *doctor.Facts) { f.Target.PID, f.Target.Exe = 500, "/usr/bin/kubelet" }, "runtime", doctor.OK, nil, nil},
		"trimpath":           {func(f *doctor.Facts) { f.Build.Trimpath = true }, "trimpath", doctor.OK, []string{"mapped all the same"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			f := healthyFacts()
			tt.change(&f)
			r := doctor.Examine(f)
			c := findCheck(t, r, tt.check)
			if c.Status != tt.status || c.Status != doctor.OK && (c.Remedy == "" || c.Why == "") {
				t.Errorf("%+v", c)
			}
			for _, part := range tt.says {
				if !strings.Contains(c.Found+"\n"+c.Why+"\n"+c.Remedy, part) {
					t.Errorf("%+v does not say %q", c, part)
				}
			}
			for _, other := range r.Checks {
				if other.Name != tt.check && other.Status != doctor.OK && !slices.Contains(tt.also, other.Name) {
					t.Errorf("this minds too: %+v", other)
				}
			}
		})
	}
}

// TestWorst counts a stripped target as a warning at least.
func TestWorst(t *testing.T) {
	f := healthyFacts()
	f.Build.Stripped, f.Source.Symbols = true, true
	if got := doctor.Examine(f).ExitStatus(); got != 1 {
		t.Errorf("a stripped target gives %d", got)
	}
	f.Agent.Frozen = true
	if got := doctor.Examine(f).ExitStatus(); got != 2 {
		t.Errorf("an error beside a warning gives %d", got)
	}
}

// TestStages ends the examination at each error: what comes before was all right,
// and what depends on it is skipped.
func TestStages(t *testing.T) {
	for code, check := range map[diag.Code]string{
		diag.NodeUnknown: "node", diag.NodeNotLocal: "node", diag.NodeUnreachable: "ssh", diag.HostKeyChanged: "ssh", diag.HostKeyUnknown: "ssh",
		diag.KeyRefused: "ssh", diag.IdentityUnusable: "ssh", diag.NoSudo: "sudo", diag.NodePlatform: "platform", diag.AgentUpload: "agent",
		diag.AgentMissing: "agent", diag.AgentProtocol: "agent", diag.LinkLost: "agent",
	} {
		r := doctor.Examine(doctor.Facts{Node: doctor.Node{Name: "n", Local: true}, Err: diag.Errorf(code, "what happened")})
		c := findCheck(t, r, check)
		if c.Status != doctor.Failed || c.Found != "what happened" || c.Remedy == "" || r.ExitStatus() != 2 {
			t.Errorf("%s: %+v", code, c)
		}
		at := slices.Index(r.Checks, c)
		for i, other := range r.Checks {
			if want := doctor.OK; i < at && other.Status != want {
				t.Errorf("%s: before it %+v", code, other)
			}
			if i > at && other.Status != doctor.Skipped {
				t.Errorf("%s: behind it %+v", code, other)
			}
		}
	}
	r := doctor.Examine(doctor.Facts{Err: errors.New("out of luck")})
	if c := r.Checks[0]; c.Name != "dapbridge" || c.Status != doctor.Failed || r.ExitStatus() != 2 {
		t.Errorf("%+v", c)
	}
}

// TestNoTarget keeps what is known of the node.
func TestNoTarget(t *testing.T) {
	f := healthyFacts()
	f.Target, f.Build, f.Optimisation, f.Source = nil, nil, nil, doctor.Source{}
	f.TargetErr = diag.Errorf(diag.TargetNone, "no process with an executable named containerd")
	r := doctor.Examine(f)
	if c := findCheck(t, r, "target"); c.Status != doctor.Failed || !strings.Contains(c.Remedy, "dapbridge ps") {
		t.Errorf("%+v", c)
	}
	for name, want := range map[string]doctor.Status{"disk": doctor.OK, "rsync": doctor.OK, "runtime": doctor.OK, "symbols": doctor.Skipped, "source": doctor.Skipped, "tracer": doctor.Skipped} {
		if c := findCheck(t, r, name); c.Status != want {
			t.Errorf("%+v, want %s", c, want)
		}
	}
}

func TestReportJSON(t *testing.T) {
	raw, err := json.Marshal(doctor.Examine(healthyFacts()))
	if want := `{"checks":[{"name":"node","status":"ok","found":"minikube (a minikube profile)"},`; err != nil || !strings.HasPrefix(string(raw), want) {
		t.Errorf("%s, %v", raw, err)
	}
}
