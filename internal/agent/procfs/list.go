package procfs

import (
	"cmp"
	"context"
	"os"
	"slices"

	"github.com/dapbridge/dapbridge/internal/api"
	"github.com/dapbridge/dapbridge/internal/exe"
)

// ListCandidates returns all running Go programs except this program's own: main
// processes of systemd services first, then by process id. Unreadable processes are
// left out.
func ListCandidates(ctx context.Context) ([]api.Candidate, error) {
	if err := checkSupported(); err != nil {
		return nil, err
	}
	pids, err := readNumbers(procRoot)
	if err != nil {
		return nil, err
	}
	var list []api.Candidate
	own, _ := os.Stat(procPath(os.Getpid(), "exe"))
	var seen exeCache
	for _, pid := range pids {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if pid == os.Getpid() || runsFile(pid, own) {
			continue
		}
		if c, err := seen.newCandidate(pid); err == nil {
			list = append(list, c)
		}
	}
	markMain(ctx, list)
	sortCandidates(list)
	return list, nil
}

// ListProcesses returns all processes, Go program or not, by process id. Kernel
// threads and unreadable processes are left out.
func ListProcesses(ctx context.Context) ([]api.Process, error) {
	if err := checkSupported(); err != nil {
		return nil, err
	}
	pids, err := readNumbers(procRoot)
	if err != nil {
		return nil, err
	}
	var list []api.Process
	for _, pid := range pids {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if p, err := readProcess(pid); err == nil {
			list = append(list, p)
		}
	}
	return list, nil
}

// runsFile reports whether a process runs the file described by own.
func runsFile(pid int, own os.FileInfo) bool {
	exe, err := os.Stat(procPath(pid, "exe"))
	return err == nil && own != nil && os.SameFile(exe, own)
}

func sortCandidates(list []api.Candidate) {
	slices.SortFunc(list, func(a, b api.Candidate) int {
		switch {
		case a.Main && !b.Main:
			return -1
		case b.Main && !a.Main:
			return 1
		}
		return cmp.Compare(a.Process.PID, b.Process.PID)
	})
}

func markMain(ctx context.Context, list []api.Candidate) {
	var units []string
	for _, c := range list {
		if c.Process.Unit != "" && !slices.Contains(units, c.Process.Unit) {
			units = append(units, c.Process.Unit)
		}
	}
	main := findMainPIDs(ctx, units...)
	for i := range list {
		list[i].Main = main[list[i].Process.PID]
	}
}

// exeCache caches what was read from executables: a node runs a shim for each of its
// pods.
type exeCache []inspection

type inspection struct {
	file         os.FileInfo
	build        *exe.Build
	optimisation *exe.Optimisation
	err          error
}

func (s *exeCache) newCandidate(pid int) (api.Candidate, error) {
	x, err := OpenExe(pid)
	if err != nil {
		return api.Candidate{}, err
	}
	defer x.Close()
	exe := s.inspect(x)
	if exe.err != nil {
		return api.Candidate{}, exe.err
	}
	p, err := readProcess(pid)
	if err != nil {
		return api.Candidate{}, err
	}
	return api.Candidate{Process: p, Build: exe.build, Optimisation: exe.optimisation}, nil
}

func (s *exeCache) inspect(x *exe.File) inspection {
	info, err := x.Stat()
	if err != nil {
		return inspection{err: err}
	}
	for _, known := range *s {
		if os.SameFile(known.file, info) {
			return known
		}
	}
	found := inspection{file: info}
	found.build, found.err = x.Build()
	if found.err == nil {
		if o, err := x.Optimisation(); err == nil {
			found.optimisation = &o
		}
	}
	*s = append(*s, found)
	return found
}
