//go:build linux

package worker

import (
	"slices"
	"strings"
	"time"

	"github.com/go-delve/delve/pkg/proc"
)

// finishCalls waits for injected calls (evaluation of a call) to return: a target that
// is detached during one dies when it returns. The target runs meanwhile. A call that
// never returns keeps us attached.
func (d *debuggee) finishCalls() error {
	for {
		calls, err := d.countCalls()
		if err != nil || calls == 0 {
			return err
		}
		d.log.Info("waiting for injected calls", "calls", calls)
		stopped := d.resume()
		select {
		case <-stopped:
		case <-time.After(callPause):
		}
		if err := d.stopRunning(); err != nil {
			return err
		}
	}
}

// callPause is how long injected calls run before they are counted again.
const callPause = 200 * time.Millisecond

// countCalls counts the goroutines and threads with an injected call
// (runtime/debugcall.go): it runs on a goroutine of its own (debugCallWrap1), and
// before and after that on a thread (debugCallV2).
func (d *debuggee) countCalls() (n int, err error) {
	tgrp, unlock := d.LockTargetGroup()
	defer unlock()
	tgt := tgrp.Selected
	gs, _, err := proc.GoroutinesInfo(tgt, 0, 0)
	if err != nil {
		return 0, err
	}
	for _, g := range gs {
		if isDebugCall(g.StartLoc(tgt).Fn) {
			n++
		}
	}
	for _, thread := range tgt.ThreadList() {
		frames, err := proc.ThreadStacktrace(tgt, thread, debugCallDepth)
		if err != nil {
			continue // a thread whose stack Delve does not understand
		}
		if slices.ContainsFunc(frames, func(f proc.Stackframe) bool { return isDebugCall(f.Current.Fn) }) {
			n++
		}
	}
	return n, nil
}

// debugCallDepth is how many frames are searched for debugCallV2: it calls nothing
// deeper except on the call's own goroutine.
const debugCallDepth = 16

func isDebugCall(fn *proc.Function) bool {
	return fn != nil && strings.HasPrefix(fn.Name, "runtime.debugCall")
}
