package swap

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// unitState is the state of a service; see systemctl(1), show, and
// org.freedesktop.systemd1(5).
type unitState struct {
	load, active, sub, result, job string
	mainPID                        int
	killMode                       string
	exec                           string // path of the program of ExecStart=
	reload                         bool   // its files have changed since systemd read them
}

// pollPause is the pause between two checks of a condition.
const pollPause = 50 * time.Millisecond

// systemd runs systemctl.
type systemd struct{}

// systemctlTimeout bounds a call, since the manager may hang: none of our calls waits
// for a job.
const systemctlTimeout = 30 * time.Second

func (systemd) run(ctx context.Context, program string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, systemctlTimeout)
	defer cancel()
	var out, errOut bytes.Buffer
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = []string{"LC_ALL=C", "SYSTEMD_COLORS=0", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
	cmd.Stdout, cmd.Stderr = &out, &errOut
	cmd.WaitDelay = time.Second
	if err := cmd.Run(); err != nil {
		text := strings.TrimSpace(errOut.String())
		return out.String(), fmt.Errorf("%s %s: %w: %s", program, strings.Join(args, " "), err, text)
	}
	return out.String(), nil
}

func (s systemd) show(ctx context.Context, unit string) (unitState, error) {
	out, err := s.run(ctx, "systemctl", "show", "--property=LoadState,ActiveState,SubState,Result,Job,MainPID,KillMode,ExecStart,NeedDaemonReload", "--", unit)
	if err != nil {
		return unitState{}, err
	}
	return parseShow(out), nil
}

// parseShow parses lines of NAME=VALUE. Of ExecStart it takes only the program, since
// the arguments are not quoted.
func parseShow(text string) unitState {
	var u unitState
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		switch name {
		case "LoadState":
			u.load = value
		case "ActiveState":
			u.active = value
		case "SubState":
			u.sub = value
		case "Result":
			u.result = value
		case "Job":
			u.job = value
		case "MainPID":
			u.mainPID, _ = strconv.Atoi(value)
		case "KillMode":
			u.killMode = value
		case "NeedDaemonReload":
			u.reload = value == "yes"
		case "ExecStart":
			_, rest, _ := strings.Cut(value, "path=")
			u.exec, _, _ = strings.Cut(rest, " ;")
		}
	}
	return u
}

func (s systemd) reload(ctx context.Context) error {
	_, err := s.run(ctx, "systemctl", "daemon-reload")
	return err
}

// restart requests a restart and does not wait for it: a service that never reports
// that it is ready would block the caller. Earlier failures do not count against the
// unit's start limit.
func (s systemd) restart(ctx context.Context, unit string) error {
	_, _ = s.run(ctx, "systemctl", "reset-failed", "--", unit) // fails if the unit has not failed
	_, err := s.run(ctx, "systemctl", "restart", "--no-block", "--", unit)
	return err
}

// readJournal returns the last lines of a unit's latest run: what its process logged,
// and what systemd logged about it (systemd.journal-fields(7)).
func (s systemd) readJournal(ctx context.Context, unit string) []string {
	id, err := s.run(ctx, "systemctl", "show", "--property=InvocationID", "--value", "--", unit)
	if id = strings.TrimSpace(id); err != nil || id == "" {
		return nil
	}
	out := s.readCompleteJournal(ctx, id)
	if out == "" {
		return nil
	}
	return strings.Split(strings.TrimSuffix(out, "\n"), "\n")
}

// readCompleteJournal reads the journal of an invocation, and again until it does not
// grow any more, for at most journalGrowth. Journald may not yet have read what a
// process printed just before it exited, and journalctl --sync waits only for the
// writing of what it has read.
func (s systemd) readCompleteJournal(ctx context.Context, invocation string) string {
	out := s.readSyncedJournal(ctx, invocation)
	for end := time.Now().Add(journalGrowth); time.Now().Before(end); {
		select {
		case <-ctx.Done():
			return out
		case <-time.After(journalPause):
		}
		now := s.readSyncedJournal(ctx, invocation)
		if now == out || now == "" {
			break
		}
		out = now
	}
	return out
}

// readSyncedJournal reads what journald has written when it is asked to write all, or
// what there is if it does not answer in time.
func (s systemd) readSyncedJournal(ctx context.Context, invocation string) string {
	syncCtx, cancel := context.WithTimeout(ctx, journalSyncTimeout)
	defer cancel()
	_, _ = s.run(syncCtx, "journalctl", "--sync")
	out, err := s.run(ctx, "journalctl", "--lines="+strconv.Itoa(journalLines), "--output=cat", "--all", "--quiet", "--no-pager",
		"_SYSTEMD_INVOCATION_ID="+invocation, "+", "INVOCATION_ID="+invocation)
	if err != nil {
		return ""
	}
	return out
}

const (
	journalLines       = 15                     // lines of a failed process's journal that are reported
	journalPause       = 200 * time.Millisecond // without a new line, after which the journal is complete
	journalGrowth      = time.Second            // for a build that goes on logging: the rollback waits for this
	journalSyncTimeout = 5 * time.Second
)

// autoRestart is the state of a service whose process has exited, and which is
// restarted after RestartSec= (systemd.service(5)).
const autoRestart = "auto-restart"

// notFound is the load state of a unit that does not exist.
const notFound = "not-found"

// crashError returns an error that says how the unit's process has exited by itself,
// nil if it has not. A pending job means that systemd is about to start it.
func (u unitState) crashError() error {
	switch {
	case u.job == "" && (u.sub == autoRestart || u.active == "failed"):
		return fmt.Errorf("the process has exited: %s", u.result)
	case u.load == "masked":
		return errors.New("the unit is masked")
	}
	return nil
}
