package procfs

import (
	"io/fs"
	"os"
	"strconv"
	"strings"

	"github.com/dapbridge/dapbridge/internal/diag"
)

// obstacle is a reason for which the kernel does not allow tracing, and its remedy.
type obstacle struct{ what, remedy string }

// newPtraceRefused returns a diag.PtraceRefused that says what forbids tracing, if the
// kernel's files show it.
func newPtraceRefused(format string, args ...any) *diag.Error {
	return ExplainRefusal(diag.Errorf(diag.PtraceRefused, format, args...))
}

// ExplainRefusal adds to an error what forbids tracing, according to the kernel's
// files, and the remedy.
func ExplainRefusal(err *diag.Error) *diag.Error {
	found := findObstacles(os.DirFS("/"))
	if len(found) == 0 {
		return err
	}
	for _, o := range found {
		err.Summary += "; " + o.what
	}
	return err.WithHint("%s", found[0].remedy)
}

// capSysPtrace is the number of CAP_SYS_PTRACE (capabilities(7)).
const capSysPtrace = 19

// findObstacles reads, below root, what may prevent this process from tracing: its
// capabilities and seccomp filter (proc_pid_status(5)), Yama (ptrace(2), ptrace_scope)
// and the kernel's lockdown (kernel_lockdown(7)). It ignores unreadable files.
func findObstacles(root fs.FS) (found []obstacle) {
	status := readSmall(root, "proc/self/status")
	caps, err := strconv.ParseUint(string(findStatusField(status, "CapEff")), 16, 64)
	capable := err != nil || caps&(1<<capSysPtrace) != 0
	if !capable {
		found = append(found, obstacle{
			"the agent lacks the capability CAP_SYS_PTRACE",
			"give the node that capability: run its container with --privileged or --cap-add SYS_PTRACE",
		})
	}
	scope, err := strconv.Atoi(strings.TrimSpace(string(readSmall(root, "proc/sys/kernel/yama/ptrace_scope"))))
	switch {
	case err != nil:
	case scope >= 3: // even with the capability, and irrevocably
		found = append(found, obstacle{
			"/proc/sys/kernel/yama/ptrace_scope is 3, which forbids all tracing until the next boot",
			"set kernel.yama.ptrace_scope to 1 where it is set (on the node or its host: grep -r ptrace_scope /etc/sysctl.*), and reboot",
		})
	case scope > 0 && !capable:
		found = append(found, obstacle{
			"/proc/sys/kernel/yama/ptrace_scope is " + strconv.Itoa(scope),
			"run as root on the node or its host: sysctl kernel.yama.ptrace_scope=0",
		})
	}
	if string(findStatusField(status, "Seccomp")) == "2" {
		found = append(found, obstacle{
			"a seccomp filter is in force, which may refuse ptrace",
			"allow ptrace where the filter is set: run the node's container with --security-opt seccomp=unconfined, or see SystemCallFilter= of the SSH server's unit",
		})
	}
	if mode := parseLockdown(string(readSmall(root, "sys/kernel/security/lockdown"))); mode != "" {
		found = append(found, obstacle{
			"the kernel is locked down (" + mode + ")",
			"boot the node's kernel without lockdown=" + mode + " if nothing else forbids tracing there",
		})
	}
	return found
}

// parseLockdown returns the mode in force, which is in brackets among all modes; ""
// for none.
func parseLockdown(modes string) string {
	_, rest, _ := strings.Cut(modes, "[")
	mode, _, ok := strings.Cut(rest, "]")
	if !ok || mode == "none" {
		return ""
	}
	return mode
}

// readSmall returns the beginning of a file, nothing if it cannot be read.
func readSmall(root fs.FS, name string) []byte {
	f, err := root.Open(name)
	if err != nil {
		return nil
	}
	defer f.Close()
	buf := make([]byte, statusLimit)
	n, _ := f.Read(buf)
	return buf[:n]
}
