package procfs

import (
	"bytes"
	"errors"
	"strconv"
)

// stat holds the fields of proc_pid_stat(5) that we need.
type stat struct {
	state  byte
	parent int
	flags  uint64
	start  uint64 // ticks since boot
}

// flagKernelThread is PF_KTHREAD of the kernel's include/linux/sched.h.
const flagKernelThread = 0x00200000

// parseStat parses a stat file. The process's name is in parentheses, and may itself
// contain parentheses, spaces and newlines.
func parseStat(data []byte) (stat, error) {
	end := bytes.LastIndexByte(data, ')')
	fields := bytes.Fields(data[end+1:])
	if end < 0 || len(fields) < 20 || len(fields[0]) != 1 {
		return stat{}, errors.New("malformed stat file")
	}
	parent, err1 := strconv.Atoi(string(fields[1]))
	flags, err2 := strconv.ParseUint(string(fields[6]), 10, 64)
	start, err3 := strconv.ParseUint(string(fields[19]), 10, 64)
	return stat{fields[0][0], parent, flags, start}, errors.Join(err1, err2, err3)
}

func readStat(pid int) (stat, error) {
	data, err := readProc(pid, "stat", statusLimit)
	if err != nil {
		return stat{}, err
	}
	return parseStat(data)
}
