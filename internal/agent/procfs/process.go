package procfs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/dapbridge/dapbridge/internal/api"
	"github.com/dapbridge/dapbridge/internal/diag"
)

// argsLimit bounds how many bytes of a command line are read.
const argsLimit = 64 << 10

// readProcess reads a process. The error's code is diag.TargetGone if there is none or
// the pid was reused meanwhile, and diag.TargetNotGo for a kernel thread.
func readProcess(pid int) (api.Process, error) {
	st, err := readStat(pid)
	if err != nil {
		return api.Process{}, err
	}
	status, err := readProc(pid, "status", statusLimit)
	if err != nil {
		return api.Process{}, err
	}
	if err := checkKind(pid, st, status); err != nil {
		return api.Process{}, err
	}
	p := api.Process{PID: pid, StartTicks: st.start, Parent: st.parent, NSPids: parseNSPids(status), UID: parseEffectiveUID(status)}
	if p.Exe, p.ExeDeleted, err = readExe(pid); err != nil {
		return api.Process{}, err
	}
	if p.StartTime, err = readStartTime(st.start); err != nil {
		return api.Process{}, err
	}
	p.Args = readArgs(pid)
	p.Unit = readUnit(pid)
	if again, err := readStat(pid); err != nil || again.start != st.start {
		return api.Process{}, diag.Errorf(diag.TargetGone, "process %d has ended", pid)
	}
	return p, nil
}

// checkKind refuses what has a directory in /proc but cannot be debugged.
func checkKind(pid int, st stat, status []byte) error {
	switch group := findStatusInt(status, "Tgid"); {
	case group != pid:
		return diag.Errorf(diag.TargetGone, "%d is not a process but a thread of process %d", pid, group)
	case st.flags&flagKernelThread != 0:
		return diag.Errorf(diag.TargetNotGo, "process %d is a kernel thread", pid)
	case st.state == 'Z' || st.state == 'X':
		return diag.Errorf(diag.TargetGone, "process %d has ended, but its parent %d has not waited for it yet", pid, st.parent)
	}
	return nil
}

func readExe(pid int) (exe string, deleted bool, err error) {
	exe, err = os.Readlink(procPath(pid, "exe"))
	if err != nil {
		return "", false, procError(pid, err)
	}
	exe, deleted = strings.CutSuffix(exe, " (deleted)")
	return exe, deleted, nil
}

func readArgs(pid int) []string {
	data, err := readProc(pid, "cmdline", argsLimit)
	if err != nil || len(data) == 0 {
		return nil
	}
	return strings.Split(strings.TrimSuffix(string(data), "\x00"), "\x00")
}

func parseNSPids(status []byte) []int {
	var pids []int
	for _, field := range bytes.Fields(findStatusField(status, "NSpid")) {
		if pid, err := strconv.Atoi(string(field)); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

func parseEffectiveUID(status []byte) uint32 {
	fields := bytes.Fields(findStatusField(status, "Uid"))
	if len(fields) < 2 {
		return 0
	}
	uid, _ := strconv.ParseUint(string(fields[1]), 10, 32)
	return uint32(uid)
}

// readStartTime converts ticks since boot to a time. A tick in /proc is 1/100 s on all
// our platforms (USER_HZ), whatever the kernel's HZ.
func readStartTime(ticks uint64) (time.Time, error) {
	f, err := os.Open(filepath.Join(procRoot, "stat"))
	if err != nil {
		return time.Time{}, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, 4<<20)) // it has a counter for each interrupt
	if err != nil {
		return time.Time{}, err
	}
	for line := range bytes.Lines(data) {
		if value, ok := bytes.CutPrefix(line, []byte("btime ")); ok {
			boot, err := strconv.ParseInt(string(bytes.TrimSpace(value)), 10, 64)
			return time.Unix(boot, 0).Add(time.Duration(ticks) * 10 * time.Millisecond), err
		}
	}
	return time.Time{}, errors.New("no boot time in " + filepath.Join(procRoot, "stat"))
}

// describe describes p on one line, for a user who must choose.
func describe(p api.Process) string {
	where := p.Unit
	switch {
	case p.InContainer():
		where = "in a container"
	case where == "":
		where = "no unit"
	}
	return fmt.Sprintf("%d (%s, since %s)", p.PID, joinLines(where), p.StartTime.UTC().Format(time.DateTime))
}

// joinLines replaces line breaks and tabs, which diag.Escape keeps.
func joinLines(s string) string {
	return strings.NewReplacer("\n", " ", "\r", " ", "\t", " ").Replace(s)
}
