package doctor

import (
	"fmt"
	"path"
	"strings"

	"github.com/dapbridge/dapbridge/internal/diag"
)

// stages returns all checks in order. The last stage has no codes, since no other stage
// depends on it.
func stages() []stage {
	return []stage{
		{[]diag.Code{diag.NodeUnknown, diag.NodeNotLocal}, []check{{"node", checkNode}}},
		{[]diag.Code{
			diag.NodeUnreachable, diag.HostKeyUnknown, diag.HostKeyChanged, diag.KeyRefused, diag.IdentityUnusable,
		}, []check{{"ssh", checkSSH}}},
		{[]diag.Code{diag.NoSudo}, []check{{"sudo", checkSudo}}},
		{[]diag.Code{diag.NodePlatform}, []check{{"platform", checkPlatform}}},
		{[]diag.Code{diag.AgentMissing, diag.AgentUpload, diag.AgentProtocol, diag.LinkLost}, []check{{"agent", checkAgent}}},
		{nil, []check{
			{"tracing", checkTracing}, {"cgroup", checkCgroup}, {"disk", checkDisk}, {"runtime", checkRuntime}, {"target", checkTarget},
			{"tracer", checkTracer}, {"symbols", checkSymbols}, {"optimised", checkOptimised}, {"go version", checkGoVersion}, {"trimpath", checkTrimpath},
			{"source", checkSource}, {"source version", checkSourceVersion}, {"node's source", checkNodeSource}, {"rsync", checkRsync},
		}},
	}
}

func checkNode(f Facts) Check {
	if f.Err != nil && (diag.CodeOf(f.Err) == diag.NodeUnknown || diag.CodeOf(f.Err) == diag.NodeNotLocal) {
		return failedCheck(f.Err, "")
	}
	found := fmt.Sprintf("%s (%s)", f.Node.Name, f.Node.Why)
	const (
		why    = "while the target is halted, nobody can start or stop a container on this node"
		remedy = "debug on a cluster of your own, for example with minikube"
	)
	switch {
	case !f.Node.Local:
		return Check{Status: Warning, Found: found, Why: why, Remedy: remedy}
	case f.Agent != nil && f.Agent.Kubelet != nil && f.Agent.Kubelet.Cloud != "":
		return Check{Status: Warning, Found: found + ", but its kubelet runs in the cloud " + f.Agent.Kubelet.Cloud, Why: why, Remedy: remedy}
	}
	return Check{Status: OK, Found: found}
}

func checkSSH(f Facts) Check {
	return checkError(f.Err, "connected; the host key is known", diag.NodeUnreachable, diag.HostKeyUnknown, diag.HostKeyChanged, diag.KeyRefused, diag.IdentityUnusable)
}

func checkSudo(f Facts) Check {
	found := "not needed: logged in as root"
	if f.Agent != nil && f.Agent.Root != "" {
		found = f.Agent.Root + " works without a password"
	}
	return checkError(f.Err, found, diag.NoSudo)
}

func checkPlatform(f Facts) Check {
	c := checkError(f.Err, "", diag.NodePlatform)
	if a := f.Agent; a != nil && c.Status == OK {
		c.Found = fmt.Sprintf("%s, Linux %s, %s", orUnknown(a.System), orUnknown(a.Kernel), a.Platform)
		if strings.HasSuffix(a.Platform, "/arm64") {
			return Check{Status: Warning, Found: c.Found, Why: "the debugger is untested on arm64", Remedy: "report what works and what does not"}
		}
	}
	return c
}

func checkAgent(f Facts) Check {
	c := checkError(f.Err, "", diag.AgentMissing, diag.AgentUpload, diag.AgentProtocol, diag.LinkLost)
	if f.Agent != nil && c.Status == OK {
		c.Found = "running as root from " + f.Agent.Dir
	}
	return c
}

func checkTracing(f Facts) Check {
	a := f.Agent
	if a == nil {
		return skippedCheck()
	}
	obstacles := ""
	if len(a.Obstacles) > 0 {
		obstacles = "; " + strings.Join(a.Obstacles, "; ")
	}
	if a.TracingFailure != "" {
		return Check{
			Status: Failed, Found: "the kernel does not let the agent trace processes: " + a.TracingFailure + obstacles,
			Why: "a debugger needs ptrace", Remedy: diag.Errorf(diag.PtraceRefused, "").Hint,
		}
	}
	return Check{Status: OK, Found: "the agent can trace processes" + obstacles}
}

func checkCgroup(f Facts) Check {
	a := f.Agent
	switch {
	case a == nil:
		return skippedCheck()
	case a.Frozen:
		return Check{
			Status: Failed, Found: "the target's cgroup is frozen", Why: "its threads do not respond to a debugger until it is thawed",
			Remedy: "on the node, run systemctl thaw UNIT; if systemd did not freeze it, write THAWED to its freezer.state (version 1) or 0 to its cgroup.freeze (version 2)",
		}
	case a.CgroupV2:
		return Check{Status: OK, Found: "version 2, not frozen"}
	}
	return Check{Status: OK, Found: "version 1, not frozen"}
}

// enoughSpace is what the agent and the symbols of one target need, in bytes:
// containerd's take 45 MB, kubelet's 80 MB.
const enoughSpace = 200 << 20

func checkDisk(f Facts) Check {
	if f.Agent == nil {
		return skippedCheck()
	}
	found := fmt.Sprintf("%d MB free in %s", f.Agent.Free>>20, f.Agent.Dir)
	if f.Agent.Free < enoughSpace {
		return Check{
			Status: Warning, Found: found, Why: "a target's symbols and a debug build need up to 200 MB",
			Remedy: "free space on the node; dapbridge symbols --remove removes old symbols",
		}
	}
	return Check{Status: OK, Found: found}
}

func checkRuntime(f Facts) Check {
	if f.Agent == nil {
		return skippedCheck()
	}
	k := f.Agent.Kubelet
	if k == nil {
		return Check{Status: OK, Found: "no kubelet is running on the node"}
	}
	endpoint := fmt.Sprintf("kubelet (pid %d) uses %s", k.PID, k.Endpoint)
	switch t := f.Target; {
	case k.Runtime == 0:
		return Check{
			Status: Warning, Found: endpoint + ", which nothing serves", Why: "kubelet cannot start containers",
			Remedy: "start the runtime on the node, or correct kubelet's containerRuntimeEndpoint",
		}
	case t == nil || path.Base(t.Exe) == "kubelet" || t.PID == k.Runtime:
		return Check{Status: OK, Found: fmt.Sprintf("%s: %s, pid %d", endpoint, k.RuntimeExe, k.Runtime)}
	default:
		server := path.Base(k.RuntimeExe)
		if k.Runtime == 1 {
			server = "systemd's socket activation"
		}
		return Check{
			Status: Warning, Found: fmt.Sprintf("%s, served by %s (pid %d), not by %s (pid %d)", endpoint, server, k.Runtime, t.Exe, t.PID),
			Why:    "kubelet's requests do not go to this target, so they hit none of its breakpoints",
			Remedy: fmt.Sprintf("debug the runtime that kubelet uses (--pid %d), or create the node with containerd: minikube start --container-runtime=containerd", k.Runtime),
		}
	}
}

// checkError returns a failed check if err has one of the codes, and an OK one
// with found otherwise.
func checkError(err error, found string, codes ...diag.Code) Check {
	for _, code := range codes {
		if err != nil && diag.CodeOf(err) == code {
			return failedCheck(err, "")
		}
	}
	return Check{Status: OK, Found: found}
}

// skippedCheck is the result of a check whose facts are missing because another
// check failed.
func skippedCheck() Check { return Check{Status: Skipped, Found: "skipped: an earlier check failed"} }

func orUnknown(s string) string {
	if s == "" {
		return "unknown"
	}
	return s
}
