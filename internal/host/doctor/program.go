package doctor

import (
	"fmt"
	"path"
	"strings"

	"github.com/dapbridge/dapbridge/internal/api"
	"github.com/dapbridge/dapbridge/internal/diag"
)

// This file holds the checks of the target's process, its build and its source.

func checkTarget(f Facts) Check {
	switch t := f.Target; {
	case f.TargetErr != nil:
		return failedCheck(f.TargetErr, "there is nothing to debug")
	case t == nil:
		return skippedCheck()
	case t.ExeDeleted:
		return Check{
			Status: Warning, Found: describeTarget(f) + "; its executable has been replaced since it started",
			Why:    "the running program is not the one on disk",
			Remedy: fmt.Sprintf("restart it to run the one on disk: systemctl restart %s", orUnknown(t.Unit)),
		}
	}
	return Check{Status: OK, Found: describeTarget(f)}
}

// describeTarget returns the target's process and build in one line.
func describeTarget(f Facts) string {
	t, b := f.Target, f.Build
	s := fmt.Sprintf("pid %d, %s", t.PID, t.Exe)
	if t.Unit != "" {
		s += ", " + t.Unit
	}
	if b != nil && b.ModulePath != "" {
		s += ", " + b.ModulePath
		if b.ModuleVersion != "" {
			s += "@" + b.ModuleVersion
		}
	}
	if len(t.Args) > 1 {
		s += ", arguments: " + strings.Join(t.Args[1:], " ")
	}
	return s
}

func checkTracer(f Facts) Check {
	switch {
	case f.TracerErr != nil:
		return failedCheck(f.TracerErr, "a process can have only one tracer")
	case f.Target == nil:
		return skippedCheck()
	}
	return Check{Status: OK, Found: "none"}
}

func checkSymbols(f Facts) Check {
	switch b := f.Build; {
	case b == nil:
		return skippedCheck()
	case !b.Stripped:
		return Check{Status: OK, Found: "the executable contains debug information"}
	case f.Source.Symbols:
		return Check{Status: OK, Found: "stripped; its symbols have been built"}
	}
	c := Check{
		Status: Warning, Found: "stripped; its symbols have not been built",
		Why:    "without them, a session has lines, stacks, goroutines and breakpoints, but no variables",
		Remedy: fmt.Sprintf("build its symbols, which leaves it running: %s; or run a debug build: dapbridge deploy", f.Source.Command),
	}
	if api.HasOldTable(f.Build.GoVersion) {
		c.Status, c.Why = Failed, "without them, there is no session: the function table of "+f.Build.GoVersion+" cannot be used"
	}
	return c
}

func checkOptimised(f Facts) Check {
	const why = "in optimised code, variables are missing and stepping skips lines"
	const remedy = "run a debug build: dapbridge deploy"
	switch b, o := f.Build, f.Optimisation; {
	case b == nil:
		return skippedCheck()
	case b.Stripped:
		return Check{Status: Warning, Found: "unknown because it is stripped, but very likely optimised", Why: why, Remedy: remedy}
	case o == nil:
		return Check{Status: Skipped, Found: "the debug information does not say"}
	case o.Optimised == 0:
		return Check{Status: OK, Found: fmt.Sprintf("none of its %d packages", o.Packages)}
	case o.Optimised == 1 && o.Main:
		return Check{Status: OK, Found: fmt.Sprintf("only its main package, of %d", o.Packages)}
	default:
		return Check{Status: Warning, Found: fmt.Sprintf("%d of its %d packages", o.Optimised, o.Packages), Why: why, Remedy: remedy}
	}
}

func checkGoVersion(f Facts) Check {
	switch {
	case f.Build == nil:
		return skippedCheck()
	case f.GoWarning != "":
		return Check{Status: Warning, Found: f.GoWarning, Why: "Delve is not made for it", Remedy: "build the target with a Go version that Delve supports: dapbridge deploy"}
	}
	return Check{Status: OK, Found: f.Build.GoVersion}
}

func checkTrimpath(f Facts) Check {
	switch b := f.Build; {
	case b == nil:
		return skippedCheck()
	case b.Trimpath:
		return Check{Status: OK, Found: "built with -trimpath; its paths are mapped anyway"}
	}
	return Check{Status: OK, Found: "built without -trimpath"}
}

func checkSource(f Facts) Check {
	s := f.Source
	switch {
	case f.Build == nil:
		return skippedCheck()
	case s.Problem != "":
		return Check{
			Status: Warning, Found: s.Problem, Why: "breakpoints in your files cannot be mapped to the target",
			Remedy: "name the directory of its source: --root DIR; or get it: dapbridge source",
		}
	case s.OnHost < s.Files:
		return Check{Status: OK, Found: fmt.Sprintf("in %s; %d of the %d files that the target was compiled from are on this machine, the node provides the others", s.Root, s.OnHost, s.Files)}
	}
	return Check{Status: OK, Found: fmt.Sprintf("in %s; all %d files that the target was compiled from are on this machine", s.Root, s.Files)}
}

func checkSourceVersion(f Facts) Check {
	switch {
	case f.Build == nil || f.Source.Problem != "":
		return skippedCheck()
	case f.Source.Stale != "":
		return Check{
			Status: Warning, Found: f.Source.Stale, Why: "in changed files, breakpoints stop at other lines than you see",
			Remedy: "get the source that the target was built from: dapbridge source; or run a build of yours: dapbridge deploy",
		}
	}
	return Check{Status: OK, Found: "no change found since the target was built"}
}

func checkNodeSource(f Facts) Check {
	switch b := f.Build; {
	case b == nil:
		return skippedCheck()
	case f.Source.OnNode:
		return Check{Status: OK, Found: "on the node at " + path.Dir(b.MainFile)}
	}
	return Check{Status: OK, Found: "not on the node; a session does not need it there"}
}

func checkRsync(f Facts) Check {
	if f.Agent == nil {
		return skippedCheck()
	}
	const why = "without rsync, dapbridge sync sends large files whole when they change"
	switch {
	case f.Host.RsyncErr != nil:
		return Check{Status: Warning, Found: f.Host.RsyncErr.Error(), Why: why, Remedy: diag.Hint(f.Host.RsyncErr)}
	case f.Agent.Rsync == "":
		return Check{Status: Warning, Found: "not installed on the node", Why: why, Remedy: "install it on the node if its image lets you: apt-get install rsync"}
	}
	return Check{Status: OK, Found: f.Host.Rsync + " on this machine, " + f.Agent.Rsync + " on the node"}
}
