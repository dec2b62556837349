package bridge

import (
	"fmt"
	"slices"
	"sync"
	"time"
)

// What a kubelet does while its container runtime stands still, counted from
// the stop. kubelet's runtimeRequestTimeout is 2 minutes (KubeletConfiguration);
// PLEG calls itself unhealthy after 3 minutes, which makes the node NotReady
// (pkg/kubelet/pleg/generic.go, relistThreshold).
const (
	criTimeout   = 2 * time.Minute
	nodeNotReady = 3 * time.Minute
)

// haltWatch tells, once a minute, for how long the target has been halted and
// what that does to the node. The zero value with its two first fields set is
// ready for use.
type haltWatch struct {
	target string
	notify func(line string) // must not wait; not called once resumed or stop has returned

	mu        sync.Mutex
	since     time.Time
	timer     *time.Timer // while the clock runs
	wasHalted bool        // the clock has run
	isStopped bool
}

// halted starts the clock, unless it runs.
func (h *haltWatch) markHalted() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.timer == nil && !h.isStopped {
		h.since, h.wasHalted = time.Now(), true
		h.startTimer()
	}
}

// resumed stops the clock.
func (h *haltWatch) markRunning() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.stopTimer()
}

// stop stops the clock for good: what the node still says of a session that
// ends must not start it again.
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
		if h.timer == timer { // else it was stopped just now
			h.startTimer()
			h.notify(haltLine(h.target, h.since, time.Now()))
		}
	})
	h.timer = timer
}

// haltLine is what the debug console says at now of a target halted since.
func haltLine(target string, since, now time.Time) string {
	at := func(d time.Duration) string { return since.Add(d).Format(time.TimeOnly) }
	halted := now.Sub(since)
	line := fmt.Sprintf("%s has been halted for %s. ", target, halted.Round(time.Second))
	switch {
	case !slices.Contains([]string{"containerd", "dockerd", "cri-dockerd", "crio", "kubelet"}, target):
		return line + "What waits for it may time out."
	case target == "kubelet":
		return line + "The node goes NotReady when the kubelet has not renewed its lease for 40 s."
	case halted < criTimeout:
		return line + fmt.Sprintf("kubelet's calls to it time out after 2 minutes (the first at %s), the node goes NotReady after 3 (%s).", at(criTimeout), at(nodeNotReady))
	case halted < nodeNotReady:
		return line + fmt.Sprintf("kubelet's calls to it are timing out and will be tried again; the node goes NotReady at %s.", at(nodeNotReady))
	}
	return line + "kubelet's calls to it time out and the node is NotReady until it continues."
}
