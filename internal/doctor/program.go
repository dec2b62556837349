package doctor

import (
	"fmt"
	"path"
	"strings"

	"github.com/dapbridge/dapbridge/internal/diag"
)

// The checks of the target's program and its source.

func checkTarget(f Facts) Check {
	switch t := f.Target; {
	case f.TargetErr != nil:
		return failedCheck(f.TargetErr, "there is nothing to debug")
	case t == nil:
		return skippedCheck()
	case t.ExeDeleted:
		return Check{Status: Warning, Found: describeTarget(f) + "; another file has taken its place since it started",
			Why:    "what runs is not what lies on the disk",
			Remedy: fmt.Sprintf("restart it to run what is on the disk: systemctl restart %s", orUnknown(t.Unit))}
	}
	return Check{Status: OK, Found: describeTarget(f)}
}

// describe says which process and program the target is.
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
		return failedCheck(f.TracerErr, "one process can have one tracer")
	case f.Target == nil:
		return skippedCheck()
	}
	return Check{Status: OK, Found: "nobody traces it"}
}

func checkSymbols(f Facts) Check {
	switch b := f.Build; {
	case b == nil:
		return skippedCheck()
	case !b.Stripped:
		return Check{Status: OK, Found: "it carries its debug information"}
	case f.Source.Symbols:
		return Check{Status: OK, Found: "it is stripped, and its symbols have been built"}
	}
	return Check{Status: Warning, Found: "it is stripped", Why: "a debugger needs debug information",
		Remedy: "build its symbols and leave it as it runs: dapbridge symbols; or run a debug build of it: dapbridge deploy"}
}

func checkOptimised(f Facts) Check {
	const why = "in optimised code variables are missing and lines are passed over"
	const remedy = "run a debug build of it: dapbridge deploy"
	switch b, o := f.Build, f.Optimisation; {
	case b == nil:
		return skippedCheck()
	case b.Stripped:
		return Check{Status: Warning, Found: "it is stripped, and so very likely optimised", Why: why, Remedy: remedy}
	case o == nil:
		return Check{Status: Skipped, Found: "its debug information does not say"}
	case o.Optimised == 0:
		return Check{Status: OK, Found: fmt.Sprintf("none of its %d packages", o.Packages)}
	case o.Optimised == 1 && o.Main:
		return Check{Status: OK, Found: fmt.Sprintf("its main package alone, of %d", o.Packages)}
	default:
		return Check{Status: Warning, Found: fmt.Sprintf("%d of its %d packages", o.Optimised, o.Packages), Why: why, Remedy: remedy}
	}
}

func checkGoVersion(f Facts) Check {
	switch {
	case f.Build == nil:
		return skippedCheck()
	case f.GoWarning != "":
		return Check{Status: Warning, Found: f.GoWarning, Why: "values may be wrong, and steps odd", Remedy: "build the target by a Go that this Delve knows: dapbridge deploy"}
	}
	return Check{Status: OK, Found: f.Build.GoVersion}
}

func checkTrimpath(f Facts) Check {
	switch b := f.Build; {
	case b == nil:
		return skippedCheck()
	case b.Trimpath:
		return Check{Status: OK, Found: "built with -trimpath; its paths are mapped all the same"}
	}
	return Check{Status: OK, Found: "built without -trimpath"}
}

func checkSource(f Facts) Check {
	s := f.Source
	switch {
	case f.Build == nil:
		return skippedCheck()
	case s.Problem != "":
		return Check{Status: Warning, Found: s.Problem, Why: "breakpoints in your files can't be mapped to the target's",
			Remedy: "name the directory of its source: --root DIR"}
	case s.OnHost < s.Files:
		return Check{Status: OK, Found: fmt.Sprintf("in %s; %d of the %d files that it was compiled from are here, the others come from the node", s.Root, s.OnHost, s.Files)}
	}
	return Check{Status: OK, Found: fmt.Sprintf("in %s; all %d files that it was compiled from are here", s.Root, s.Files)}
}

func checkSourceVersion(f Facts) Check {
	switch {
	case f.Build == nil || f.Source.Problem != "":
		return skippedCheck()
	case f.Source.Stale != "":
		return Check{Status: Warning, Found: f.Source.Stale, Why: "breakpoints in files that have changed are set in other lines than you see",
			Remedy: "check out what it was built from, or run what you have: dapbridge deploy"}
	}
	return Check{Status: OK, Found: "nothing says that it has changed since the target was built"}
}

func checkNodeSource(f Facts) Check {
	switch b := f.Build; {
	case b == nil:
		return skippedCheck()
	case f.Source.OnNode:
		return Check{Status: OK, Found: "the node has it at " + path.Dir(b.MainFile)}
	}
	return Check{Status: OK, Found: "the node has none, which a session does not need"}
}

func checkRsync(f Facts) Check {
	if f.Agent == nil {
		return skippedCheck()
	}
	const why = "without it dapbridge sync sends large files that have changed as a whole"
	switch {
	case f.Host.RsyncErr != nil:
		return Check{Status: Warning, Found: f.Host.RsyncErr.Error(), Why: why, Remedy: diag.Hint(f.Host.RsyncErr)}
	case f.Agent.Rsync == "":
		return Check{Status: Warning, Found: "the node has none", Why: why, Remedy: "install it on the node (apt-get install rsync) if its image lets you"}
	}
	return Check{Status: OK, Found: f.Host.Rsync + " here, " + f.Agent.Rsync + " there"}
}
