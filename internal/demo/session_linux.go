package demo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/google/go-dap"

	"github.com/dapbridge/dapbridge/internal/dapclient"
)

// session is the debug session that an IDE would have.
type session struct {
	sample *sample
	client *dapclient.Client
	report *report
	args   map[string]any // of attach

	thread   int
	frame    dap.StackFrame
	name     string // of the first request
	detached bool
}

// play runs the session's steps up to the first that does not hold.
func (s *session) play(ctx context.Context) error {
	for _, step := range []struct {
		name  string
		limit time.Duration
		run   func(context.Context) (string, error)
	}{
		{"attach, set breakpoint", 60 * time.Second, s.setBreakpoint},
		{"hit it", 10 * time.Second, s.hit},
		{"read the stack", 10 * time.Second, s.stack},
		{"read a variable", 10 * time.Second, s.variable},
		{"step over a line", 10 * time.Second, s.next},
		{"continue, hit again", 10 * time.Second, s.again},
		{"detach, still halted", 20 * time.Second, s.detach},
	} {
		if err := s.report.step(ctx, step.name, step.limit, step.run); err != nil {
			return err
		}
	}
	return nil
}

// end lets go of the target if no step has, and closes the connection.
func (s *session) end(ctx context.Context) error {
	var err error
	if !s.detached {
		if err = s.client.Disconnect(ctx, false); err != nil {
			err = fmt.Errorf("disconnect: %w", err)
		}
	}
	return errors.Join(err, s.client.Close())
}

func (s *session) setBreakpoint(ctx context.Context) (string, error) {
	file := s.sample.source()
	got, err := s.client.Attach(ctx, dapclient.AttachOptions{
		Args:        s.args,
		Breakpoints: map[string][]int{file: {s.sample.breakpoint}},
	})
	if err != nil {
		return "", err
	}
	points := got[file]
	if len(points) != 1 || !points[0].Verified {
		return "", fmt.Errorf("not verified: %+v", points)
	}
	if b := points[0]; b.Source == nil || b.Source.Path != file || b.Line != s.sample.breakpoint {
		return "", fmt.Errorf("verified elsewhere: %+v", b)
	}
	return fmt.Sprintf("verified at %s:%d", s.sample.relative(file), s.sample.breakpoint), nil
}

func (s *session) hit(ctx context.Context) (string, error) {
	stop, err := s.stopped(ctx, "breakpoint")
	if err != nil {
		return "", err
	}
	if s.frame.Line != s.sample.breakpoint {
		return "", fmt.Errorf("stopped at line %d instead of %d", s.frame.Line, s.sample.breakpoint)
	}
	return fmt.Sprintf("goroutine %d in %s", stop.ThreadId, s.frame.Name), nil
}

// stopped waits for a stop and reads its first frame, which must be the
// workspace's main.go.
func (s *session) stopped(ctx context.Context, reason string) (*dap.StoppedEventBody, error) {
	stop, err := s.client.WaitStopped(ctx)
	if err != nil {
		return nil, err
	}
	if stop.Reason != reason {
		return nil, fmt.Errorf("stopped for %q instead of %q: %s", stop.Reason, reason, stop.Text)
	}
	s.thread = stop.ThreadId
	frames, _, err := s.client.StackTrace(ctx, s.thread, 0, 1)
	if err != nil {
		return nil, err
	}
	if len(frames) != 1 || frames[0].Source == nil || frames[0].Source.Path != s.sample.source() {
		return nil, fmt.Errorf("stopped outside %s: %+v", s.sample.source(), frames)
	}
	s.frame = frames[0]
	return stop, nil
}

func (s *session) stack(ctx context.Context) (string, error) {
	frames, total, err := s.client.StackTrace(ctx, s.thread, 0, 20)
	if err != nil {
		return "", err
	}
	if len(frames) < 3 || len(frames) > total {
		return "", fmt.Errorf("%d frames of %d", len(frames), total)
	}
	var names []string
	for _, f := range frames {
		if len(names) < 3 {
			names = append(names, f.Name)
		}
		if f.Source == nil || f.Source.Path == "" {
			continue // a wrapper that the compiler made
		}
		if !filepath.IsAbs(f.Source.Path) || strings.HasPrefix(f.Source.Path, s.sample.build) {
			return "", fmt.Errorf("%s is no path of the workspace: %s", f.Name, f.Source.Path)
		}
		if _, err := os.Stat(f.Source.Path); err != nil {
			return "", fmt.Errorf("%s has no source here: %w", f.Name, err)
		}
	}
	return fmt.Sprintf("%s:%d, %s ...: the files of all %d frames exist here",
		s.sample.relative(s.frame.Source.Path), s.frame.Line, strings.Join(names, " < "), len(frames)), nil
}

func (s *session) variable(ctx context.Context) (string, error) {
	scopes, err := s.client.Scopes(ctx, s.frame.Id)
	if err != nil {
		return "", err
	}
	var all []dap.Variable
	for _, scope := range scopes {
		vars, err := s.client.Variables(ctx, scope.VariablesReference)
		if err != nil {
			return "", err
		}
		all = append(all, vars...)
	}
	if !slices.ContainsFunc(all, func(v dap.Variable) bool { return v.Name == "r" && v.VariablesReference > 0 }) {
		return "", fmt.Errorf("no argument r among %+v", all)
	}
	s.name, err = s.requestName(ctx)
	return "r.Name = " + s.name, err
}

// requestName reads r.Name, which the sample makes up as "web-1" and so on.
func (s *session) requestName(ctx context.Context) (string, error) {
	name, _, err := s.client.Evaluate(ctx, s.frame.Id, "r.Name", "watch")
	if err != nil {
		return "", err
	}
	if !strings.HasPrefix(name, `"web-`) {
		return "", fmt.Errorf("r.Name is %s", name)
	}
	return name, nil
}

func (s *session) next(ctx context.Context) (string, error) {
	if err := s.client.Next(ctx, s.thread); err != nil {
		return "", err
	}
	if _, err := s.stopped(ctx, "step"); err != nil {
		return "", err
	}
	if want := s.sample.breakpoint + 1; s.frame.Line != want {
		return "", fmt.Errorf("at line %d instead of %d", s.frame.Line, want)
	}
	return fmt.Sprintf("at line %d", s.frame.Line), nil
}

func (s *session) again(ctx context.Context) (string, error) {
	if err := s.client.Continue(ctx, s.thread); err != nil {
		return "", err
	}
	if _, err := s.hit(ctx); err != nil {
		return "", err
	}
	name, err := s.requestName(ctx)
	if err != nil {
		return "", err
	}
	if name == s.name {
		return "", fmt.Errorf("r.Name is still %s", name)
	}
	return "r.Name = " + name, nil
}

// detach ends the session as an IDE's stop button does, while the sample is
// halted at the breakpoint.
func (s *session) detach(ctx context.Context) (string, error) {
	s.detached = true
	if err := s.client.Disconnect(ctx, false); err != nil {
		return "", err
	}
	if un := s.client.Unexpected(); len(un) > 0 {
		return "", fmt.Errorf("the bridge sent what nobody asked for: %s", un[0])
	}
	return "nobody traces the sample, no thread is stopped", s.sample.released(ctx)
}
