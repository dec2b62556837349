package procfs

import (
	"context"
	"path"
	"slices"
	"strings"

	"github.com/dapbridge/dapbridge/internal/api"
	"github.com/dapbridge/dapbridge/internal/diag"
)

// severalLimit bounds how many processes an error lists.
const severalLimit = 8

// Find returns the process that sel selects: the one with the PID; or the main process
// of the systemd service that runs the named executable; or else the only process
// whose executable has exactly that name, where one outside of containers takes
// precedence over those inside. The error's code is diag.TargetNone or
// diag.TargetSeveral if there is not exactly one, and diag.PtraceRefused if the
// service's process cannot even be read.
func Find(ctx context.Context, sel api.Selector) (api.Process, error) {
	if err := checkSupported(); err != nil {
		return api.Process{}, err
	}
	if sel.PID != 0 {
		return findPID(sel.PID)
	}
	name := sel.Executable()
	for pid := range findMainPIDs(ctx, api.ServiceOf(name)) {
		p, err := readProcess(pid)
		switch {
		case err == nil && path.Base(p.Exe) == name:
			return p, nil
		case diag.CodeOf(err) == diag.PtraceRefused:
			return api.Process{}, err // it exists, but root may not read it
		}
	}
	return findName(ctx, name)
}

func findPID(pid int) (api.Process, error) {
	if pid < 0 {
		return api.Process{}, diag.Errorf(diag.TargetNone, "%d is not a process id", pid)
	}
	p, err := readProcess(pid)
	if diag.CodeOf(err) == diag.TargetGone {
		return p, diag.Errorf(diag.TargetNone, "no process to debug: %w", err)
	}
	return p, err
}

func findName(ctx context.Context, name string) (api.Process, error) {
	pids, err := findByExe(ctx, name)
	if err != nil {
		return api.Process{}, err
	}
	if len(pids) > 1 {
		// A child between fork and exec still has its parent's executable.
		again, err := findByExe(ctx, name)
		if err != nil {
			return api.Process{}, err
		}
		pids = slices.DeleteFunc(pids, func(pid int) bool { return !slices.Contains(again, pid) })
	}
	var found []api.Process
	for _, pid := range pids {
		if p, err := readProcess(pid); err == nil {
			found = append(found, p)
		}
	}
	if outside := slices.DeleteFunc(slices.Clone(found), api.Process.InContainer); len(outside) == 1 {
		return outside[0], nil
	}
	return requireOne(name, found)
}

// findByExe returns all processes whose executable has that base name.
func findByExe(ctx context.Context, name string) ([]int, error) {
	pids, err := readNumbers(procRoot)
	if err != nil {
		return nil, err
	}
	var list []int
	for _, pid := range pids {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if exe, _, err := readExe(pid); err == nil && path.Base(exe) == name {
			list = append(list, pid)
		}
	}
	return list, nil
}

func requireOne(name string, found []api.Process) (api.Process, error) {
	switch len(found) {
	case 0:
		return api.Process{}, diag.Errorf(diag.TargetNone, "no process with an executable named %s", joinLines(name))
	case 1:
		return found[0], nil
	}
	var list []string
	for _, p := range found[:min(len(found), severalLimit)] {
		list = append(list, describe(p))
	}
	if len(found) > severalLimit {
		list = append(list, "…")
	}
	return api.Process{}, diag.Errorf(diag.TargetSeveral, "%d processes are named %s: %s",
		len(found), joinLines(name), strings.Join(list, ", "))
}
