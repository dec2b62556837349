package doctor

import (
	"fmt"
	"path"
	"strings"

	"github.com/dapbridge/dapbridge/internal/diag"
)

// stages are all checks. In a stage without codes nothing ends the examination.
func stages() []stage {
	return []stage{
		{[]diag.Code{diag.NodeUnknown, diag.NodeNotLocal}, []check{{"node", checkNode}}},
		{[]diag.Code{
			diag.NodeUnreachable, diag.HostKeyUnknown, diag.HostKeyChanged, diag.KeyRefused, diag.IdentityUnusable,
		}, []check{{"ssh", checkSSH}}},
		{[]diag.Code{diag.NoSudo}, []check{{"sudo", checkSudo}}},
		{[]diag.Code{diag.NodePlatform}, []check{{"platform", checkPlatform}}},
		{[]diag.Code{diag.AgentMissing, diag.AgentUpload, diag.AgentProtocol, diag.LinkLost}, []check{{"agent", checkAgent}}},
		{nil, []check{{"tracing", checkTracing}, {"cgroup", checkCgroup}, {"disk", checkDisk}, {"runtime", checkRuntime}, {"target", checkTarget},
			{"tracer", checkTracer}, {"symbols", checkSymbols}, {"optimised", checkOptimised}, {"go version", checkGoVersion}, {"trimpath", checkTrimpath},
			{"source", checkSource}, {"source version", checkSourceVersion}, {"node's source", checkNodeSource}, {"rsync", checkRsync}}},
	}
}

func checkNode(f Facts) Check {
	if f.Err != nil && (diag.CodeOf(f.Err) == diag.NodeUnknown || diag.CodeOf(f.Err) == diag.NodeNotLocal) {
		return failedCheck(f.Err, "")
	}
	found := fmt.Sprintf("%s (%s)", f.Node.Name, f.Node.Why)
	const why = "while the daemon is halted, nothing on that node can start or stop a container, for whoever uses it"
	switch {
	case !f.Node.Local:
		return Check{Status: Warning, Found: found, Why: why, Remedy: "debug on a cluster of your own, such as minikube's"}
	case f.Agent != nil && f.Agent.Kubelet != nil && f.Agent.Kubelet.Cloud != "":
		return Check{Status: Warning, Found: found + "; its kubelet says that it runs in the cloud " + f.Agent.Kubelet.Cloud, Why: why,
			Remedy: "debug on a cluster of your own, such as minikube's"}
	}
	return Check{Status: OK, Found: found}
}

func checkSSH(f Facts) Check {
	return checkError(f.Err, "connected, to the host key that is known", diag.NodeUnreachable, diag.HostKeyUnknown, diag.HostKeyChanged, diag.KeyRefused, diag.IdentityUnusable)
}

func checkSudo(f Facts) Check {
	found := "the SSH user is root"
	if f.Agent != nil && f.Agent.Root != "" {
		found = f.Agent.Root + " asks for no password"
	}
	return checkError(f.Err, found, diag.NoSudo)
}

func checkPlatform(f Facts) Check {
	c := checkError(f.Err, "", diag.NodePlatform)
	if a := f.Agent; a != nil && c.Status == OK {
		c.Found = fmt.Sprintf("%s, Linux %s, %s", orUnknown(a.System), orUnknown(a.Kernel), a.Platform)
		if strings.HasSuffix(a.Platform, "/arm64") {
			return Check{Status: Warning, Found: c.Found, Why: "on arm64 nobody has tested the debugger in dapbridge", Remedy: "report what you see"}
		}
	}
	return c
}

func checkAgent(f Facts) Check {
	c := checkError(f.Err, "", diag.AgentMissing, diag.AgentUpload, diag.AgentProtocol, diag.LinkLost)
	if f.Agent != nil && c.Status == OK {
		c.Found = "runs as root, from " + f.Agent.Dir
	}
	return c
}

func checkTracing(f Facts) Check {
	a := f.Agent
	if a == nil {
		return skippedCheck()
	}
	hints := ""
	if len(a.Obstacles) > 0 {
		hints = "; " + strings.Join(a.Obstacles, "; ")
	}
	if a.TracingFailure != "" {
		return Check{Status: Failed, Found: "the kernel lets the agent trace nothing: " + a.TracingFailure + hints,
			Why: "a debugger works by ptrace", Remedy: diag.Errorf(diag.PtraceRefused, "").Hint}
	}
	return Check{Status: OK, Found: "the agent may trace" + hints}
}

func checkCgroup(f Facts) Check {
	a := f.Agent
	switch {
	case a == nil:
		return skippedCheck()
	case a.Frozen:
		return Check{Status: Failed, Found: "the target's cgroup is frozen", Why: "no thread of it answers a debugger until it is thawed",
			Remedy: "thaw it on the node: systemctl thaw UNIT; if it was not frozen so, write THAWED to its freezer.state, or 0 to its cgroup.freeze"}
	case a.CgroupV2:
		return Check{Status: OK, Found: "version 2; the target's is not frozen"}
	}
	return Check{Status: OK, Found: "version 1; the target's is not frozen"}
}

// enoughSpace is what the agent and the symbols of one target need, in bytes:
// containerd's are 45 MB, kubelet's 80 MB.
const enoughSpace = 200 << 20

func checkDisk(f Facts) Check {
	if f.Agent == nil {
		return skippedCheck()
	}
	found := fmt.Sprintf("%d MB are free in %s", f.Agent.Free>>20, f.Agent.Dir)
	if f.Agent.Free < enoughSpace {
		return Check{Status: Warning, Found: found, Why: "a target's symbols and a debug build need up to 200 MB",
			Remedy: "remove what is not needed on the node, such as old symbols: dapbridge symbols --remove"}
	}
	return Check{Status: OK, Found: found}
}

func checkRuntime(f Facts) Check {
	if f.Agent == nil {
		return skippedCheck()
	}
	k := f.Agent.Kubelet
	if k == nil {
		return Check{Status: OK, Found: "no kubelet runs on the node"}
	}
	at := fmt.Sprintf("kubelet (pid %d) uses %s", k.PID, k.Endpoint)
	switch t := f.Target; {
	case k.Runtime == 0:
		return Check{Status: Warning, Found: at + ", where nobody answers", Why: "kubelet can't start containers",
			Remedy: "start the runtime on the node, or correct kubelet's containerRuntimeEndpoint"}
	case t == nil || path.Base(t.Exe) == "kubelet" || t.PID == k.Runtime:
		return Check{Status: OK, Found: fmt.Sprintf("%s: %s, pid %d", at, k.RuntimeExe, k.Runtime)}
	default:
		name := path.Base(k.RuntimeExe)
		if k.Runtime == 1 {
			name = "systemd, which starts the runtime on demand,"
		}
		return Check{Status: Warning, Found: fmt.Sprintf("%s, where %s (pid %d) answers, and not %s (pid %d)", at, name, k.Runtime, t.Exe, t.PID),
			Why:    "a breakpoint in this target is not hit by what kubelet asks its runtime",
			Remedy: fmt.Sprintf("debug the runtime that kubelet uses (--pid %d), or make the node with containerd: minikube start --container-runtime=containerd", k.Runtime)}
	}
}

// orOK fails by an error of one of the codes.
func checkError(err error, found string, codes ...diag.Code) Check {
	for _, code := range codes {
		if err != nil && diag.CodeOf(err) == code {
			return failedCheck(err, "")
		}
	}
	return Check{Status: OK, Found: found}
}

// unknown is a check whose facts are missing for another check's reason.
func skippedCheck() Check { return Check{Status: Skipped, Found: "not looked at"} }

func orUnknown(s string) string {
	if s == "" {
		return "unknown"
	}
	return s
}
