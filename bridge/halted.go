package bridge

import (
	"fmt"
	"slices"
	"sync"
	"time"
)

// When a kubelet reacts to a halted container runtime, counted from the halt. The
// kubelet's runtimeRequestTimeout is 2 minutes (KubeletConfiguration); PLEG counts as
// unhealthy after 3 minutes, which makes the node NotReady
// (pkg/kubelet/pleg/generic.go, relistThreshold).
const (
	criTimeout   = 2 * time.Minute
	nodeNotReady = 3 * time.Minute
)

// haltWatch tells the user once a minute how long the target has been halted and what
// that does to the node. It is ready for use when its first two fields are set.
type haltWatch struct {
	target string
	notify func(line string) // must not block; not called after markRunning or stop has returned

	mu        sync.Mutex
	since     time.Time
	timer     *time.Timer // not nil while the target is halted
	wasHalted bool        // markHalted has been called
	isStopped bool
}

// markHalted records that the target is halted. If it already was, the halt still
// counts from its beginning.
func (h *haltWatch) markHalted() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.timer == nil && !h.isStopped {
		h.since, h.wasHalted = time.Now(), true
		h.startTimer()
	}
}

// markRunning records that the target is running.
func (h *haltWatch) markRunning() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.stopTimer()
}

// stop stops the watch for good: messages that arrive while the session ends must not
// restart it.
func (h *haltWatch) stop() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.stopTimer()
	h.isStopped = true
}

func (h *haltWatch) stopTimer() {
	if h.timer != nil {
		h.timer.Stop()
		h.timer = nil
	}
}

func (h *haltWatch) startTimer() {
	var timer *time.Timer
	timer = time.AfterFunc(time.Minute, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.timer == timer { // not stopped in the meantime
			h.startTimer()
			h.notify(haltLine(h.target, h.since, time.Now()))
		}
	})
	h.timer = timer
}

// haltLine returns the line to show, at the time now, for a target that was halted at
// since.
func haltLine(target string, since, now time.Time) string {
	at := func(d time.Duration) string { return since.Add(d).Format(time.TimeOnly) }
	halted := now.Sub(since)
	line := fmt.Sprintf("%s has been halted for %s. ", target, halted.Round(time.Second))
	switch {
	case !slices.Contains([]string{"containerd", "dockerd", "cri-dockerd", "crio", "kubelet"}, target):
		return line + "Requests to it may time out."
	case target == "kubelet":
		return line + "The node goes NotReady when the kubelet has not renewed its lease for 40 s."
	case halted < criTimeout:
		return line + fmt.Sprintf("kubelet's calls to it time out after 2 minutes (the first at %s), the node goes NotReady after 3 (%s).", at(criTimeout), at(nodeNotReady))
	case halted < nodeNotReady:
		return line + fmt.Sprintf("kubelet's calls to it are timing out and will be retried; the node goes NotReady at %s.", at(nodeNotReady))
	}
	return line + "kubelet's calls to it time out and the node is NotReady until it continues."
}
