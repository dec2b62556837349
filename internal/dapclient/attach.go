package dapclient

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"

	"github.com/google/go-dap"
)

// AttachOptions is what an IDE takes from its launch.json and its breakpoints.
type AttachOptions struct {
	Args        map[string]any   // added to an IDE's own attach arguments
	Breakpoints map[string][]int // host file to lines
	Functions   []string
}

// Initialize sends initialize as VS Code does.
func (c *Client) Initialize(ctx context.Context) (dap.Capabilities, error) {
	return call[dap.Capabilities](ctx, c, "initialize", map[string]any{
		"clientID": "vscode", "clientName": "Visual Studio Code", "adapterID": "go",
		"pathFormat": "path", "linesStartAt1": true, "columnsStartAt1": true,
		"supportsVariableType": true, "supportsVariablePaging": true,
		"supportsRunInTerminalRequest": true, "locale": "en",
		"supportsProgressReporting": true, "supportsInvalidatedEvent": true,
		"supportsMemoryReferences": true, "supportsArgsCanBeInterpretedByShell": true,
		"supportsMemoryEvent": true, "supportsStartDebuggingRequest": true, "supportsANSIStyling": true,
	})
}

// Attach starts a session in VS Code's order: initialize, attach, breakpoints
// after the event initialized, configurationDone, threads. It returns the server's
// breakpoints by file, and those on Functions by function name.
func (c *Client) Attach(ctx context.Context, o AttachOptions) (map[string][]dap.Breakpoint, error) {
	caps, err := c.Initialize(ctx)
	if err != nil {
		return nil, err
	}
	args := map[string]any{"name": "dapclient", "type": "go", "request": "attach", "mode": "remote", "debugAdapter": "dlv-dap"}
	maps.Copy(args, o.Args)
	attach, err := c.Send("attach", args)
	if err != nil {
		return nil, err
	}
	if err := c.waitInitialized(ctx, attach); err != nil {
		return nil, err
	}
	verified, err := c.configure(ctx, caps, o)
	if err != nil {
		return nil, err
	}
	if _, err := c.Request(ctx, "configurationDone", nil); err != nil {
		return nil, err
	}
	if _, err := c.Wait(ctx, attach); err != nil {
		return nil, err
	}
	_, err = c.Threads(ctx)
	return verified, err
}

// waitInitialized waits for the event initialized, or for attach to be refused.
func (c *Client) waitInitialized(ctx context.Context, attach int) error {
	var refused *Error
	err := c.await(ctx, "the event initialized", func() bool {
		if r := c.responses[attach]; r != nil && !r.Success {
			refused = newError(r)
			return true
		}
		return c.take("initialized", nil) != nil
	})
	if err == nil && refused != nil {
		return refused
	}
	return err
}

// configure sets the breakpoints: one file after another, then the other kinds all
// at once, each only if the server supports it.
func (c *Client) configure(ctx context.Context, caps dap.Capabilities, o AttachOptions) (map[string][]dap.Breakpoint, error) {
	verified := map[string][]dap.Breakpoint{}
	for _, file := range slices.Sorted(maps.Keys(o.Breakpoints)) {
		got, err := c.SetBreakpoints(ctx, file, o.Breakpoints[file])
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		verified[file] = got
	}
	if len(o.Functions) > 0 && !caps.SupportsFunctionBreakpoints {
		return nil, errors.New("the server does not support function breakpoints")
	}
	sent, err := c.sendOtherBreakpoints(caps, o.Functions)
	if err != nil {
		return nil, err
	}
	for _, seq := range sent {
		r, err := c.Wait(ctx, seq)
		if err != nil {
			return nil, err
		}
		if r.Command != "setFunctionBreakpoints" {
			continue
		}
		var body dap.SetFunctionBreakpointsResponseBody
		if err := decode(r, &body); err != nil {
			return nil, err
		}
		for i, name := range o.Functions {
			if i < len(body.Breakpoints) {
				verified[name] = []dap.Breakpoint{body.Breakpoints[i]}
			}
		}
	}
	return verified, nil
}

// sendOtherBreakpoints sends the requests for breakpoints that have no file.
func (c *Client) sendOtherBreakpoints(caps dap.Capabilities, names []string) ([]int, error) {
	functions := make([]dap.FunctionBreakpoint, len(names))
	for i, name := range names {
		functions[i].Name = name
	}
	none := map[string]any{"breakpoints": []any{}}
	var sent []int
	for _, k := range []struct {
		supported bool
		command   string
		args      any
	}{
		{caps.SupportsFunctionBreakpoints, "setFunctionBreakpoints", map[string]any{"breakpoints": functions}},
		{caps.SupportsInstructionBreakpoints, "setInstructionBreakpoints", none},
		{true, "setExceptionBreakpoints", map[string]any{"filters": []string{"unrecovered-panic", "runtime-fatal-throw"}}},
		{caps.SupportsDataBreakpoints, "setDataBreakpoints", none},
	} {
		if !k.supported {
			continue
		}
		seq, err := c.Send(k.command, k.args)
		if err != nil {
			return nil, err
		}
		sent = append(sent, seq)
	}
	return sent, nil
}

// breakpointArgs are setBreakpoints' arguments as VS Code sends them.
func breakpointArgs(file string, lines []int) map[string]any {
	points := make([]dap.SourceBreakpoint, len(lines))
	for i, line := range lines {
		points[i].Line = line
	}
	if lines == nil {
		lines = []int{}
	}
	return map[string]any{
		"source": dap.Source{Name: filepath.Base(file), Path: file},
		"lines":  lines, "breakpoints": points, "sourceModified": false,
	}
}
