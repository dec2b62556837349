package procfs

import (
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/dapbridge/dapbridge/internal/diag"
)

// commandLimit bounds the part of a debugger's command line that is reported.
const commandLimit = 256

// FindTracer returns the process that traces any thread of pid and its command line,
// or 0. It checks all threads, since a debugger that failed while detaching may have
// released only some. It cannot see a tracer outside this pid namespace.
func FindTracer(pid int) (tracerPID int, comm string, err error) {
	err = eachThread(pid, "status", func(_ int, status []byte) error {
		if tracer := findStatusInt(status, "TracerPid"); tracer != 0 {
			tracerPID = tracer
		}
		return nil
	})
	if err != nil || tracerPID == 0 {
		return 0, "", err
	}
	if status, err := readProc(tracerPID, "status", statusLimit); err == nil {
		tracerPID = findStatusInt(status, "Tgid") // TracerPid names the tracing thread
	}
	comm = strings.Join(readArgs(tracerPID), " ")
	if len(comm) > commandLimit {
		comm = strings.ToValidUTF8(comm[:commandLimit], "") + "…"
	}
	return tracerPID, joinLines(comm), nil
}

// FindUntracedThreads returns the threads of pid that nobody traces.
func FindUntracedThreads(pid int) (tids []int, err error) {
	err = eachThread(pid, "status", func(tid int, status []byte) error {
		if findStatusInt(status, "TracerPid") == 0 {
			tids = append(tids, tid)
		}
		return nil
	})
	return tids, err
}

// ReadThreadStates returns the state letter of each thread of pid, by thread id; see
// proc_pid_stat(5).
func ReadThreadStates(pid int) (map[int]byte, error) {
	states := map[int]byte{}
	err := eachThread(pid, "stat", func(tid int, data []byte) error {
		st, err := parseStat(data)
		states[tid] = st.state
		return err
	})
	if err != nil {
		return nil, err
	}
	return states, nil
}

// ReadPendingSignals returns the signals that are pending for pid or one of its
// threads: bit n-1 for signal n. It takes about 10 µs a thread. It may miss a thread
// that starts meanwhile.
func ReadPendingSignals(pid int) (mask uint64, err error) {
	err = eachThread(pid, "status", func(_ int, status []byte) error {
		own, err := strconv.ParseUint(string(findStatusField(status, "SigPnd")), 16, 64)
		if err != nil {
			return err
		}
		shared, err := strconv.ParseUint(string(findStatusField(status, "ShdPnd")), 16, 64)
		mask |= own | shared
		return err
	})
	return mask, err
}

// eachThread calls fn with a file of each thread of pid. The data is valid during the
// call. Threads that exit meanwhile are left out; the error's code is diag.TargetGone
// if there are none.
func eachThread(pid int, name string, fn func(tid int, data []byte) error) error {
	if err := checkSupported(); err != nil {
		return err
	}
	dir := procPath(pid, "task")
	tids, err := readNumbers(dir)
	if err != nil {
		return procError(pid, err)
	}
	seen := false
	buf := make([]byte, statusLimit)
	for _, tid := range tids {
		n, err := readInto(buf, filepath.Join(dir, strconv.Itoa(tid), name))
		if isGone(err) {
			continue
		}
		if err != nil {
			return procError(pid, err)
		}
		seen = true
		if err := fn(tid, buf[:n]); err != nil {
			return err
		}
	}
	if !seen {
		return diag.Errorf(diag.TargetGone, "process %d has ended", pid)
	}
	return nil
}

// readInto fills buf from the beginning of a file.
func readInto(buf []byte, path string) (int, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	n, err := io.ReadFull(f, buf)
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		err = nil
	}
	return n, err
}
