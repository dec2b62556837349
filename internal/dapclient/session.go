package dapclient

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/google/go-dap"
)

// WaitStopped takes the next stopped event.
func (c *Client) WaitStopped(ctx context.Context) (*dap.StoppedEventBody, error) {
	e, err := c.WaitEvent(ctx, "stopped", nil)
	if err != nil {
		return nil, err
	}
	var body dap.StoppedEventBody
	if err := json.Unmarshal(e.Body, &body); err != nil {
		return nil, fmt.Errorf("read the stopped event: %w", err)
	}
	return &body, nil
}

// Threads returns the goroutines.
func (c *Client) Threads(ctx context.Context) ([]dap.Thread, error) {
	body, err := call[dap.ThreadsResponseBody](ctx, c, "threads", nil)
	return body.Threads, err
}

// StackTrace returns up to levels frames from start on, and the total number.
func (c *Client) StackTrace(ctx context.Context, thread, start, levels int) ([]dap.StackFrame, int, error) {
	args := dap.StackTraceArguments{ThreadId: thread, StartFrame: start, Levels: levels}
	body, err := call[dap.StackTraceResponseBody](ctx, c, "stackTrace", args)
	return body.StackFrames, body.TotalFrames, err
}

// Scopes returns the scopes of a frame.
func (c *Client) Scopes(ctx context.Context, frame int) ([]dap.Scope, error) {
	body, err := call[dap.ScopesResponseBody](ctx, c, "scopes", dap.ScopesArguments{FrameId: frame})
	return body.Scopes, err
}

// Variables returns the variables that ref refers to.
func (c *Client) Variables(ctx context.Context, ref int) ([]dap.Variable, error) {
	body, err := call[dap.VariablesResponseBody](ctx, c, "variables", dap.VariablesArguments{VariablesReference: ref})
	return body.Variables, err
}

// Evaluate evaluates expr in a frame; kind is the request's context, such as
// "watch", "hover" or "repl". ref is 0 for a value without children.
func (c *Client) Evaluate(ctx context.Context, frame int, expr, kind string) (value string, ref int, err error) {
	args := dap.EvaluateArguments{Expression: expr, FrameId: frame, Context: kind}
	body, err := call[dap.EvaluateResponseBody](ctx, c, "evaluate", args)
	return body.Result, body.VariablesReference, err
}

// SetBreakpoints replaces the breakpoints of a file.
func (c *Client) SetBreakpoints(ctx context.Context, file string, lines []int) ([]dap.Breakpoint, error) {
	body, err := call[dap.SetBreakpointsResponseBody](ctx, c, "setBreakpoints", breakpointArgs(file, lines))
	return body.Breakpoints, err
}

// Next steps over a line; as for the other steps, a stopped event follows.
func (c *Client) Next(ctx context.Context, thread int) error {
	return c.requestOnThread(ctx, "next", thread)
}

// StepIn steps into a call.
func (c *Client) StepIn(ctx context.Context, thread int) error {
	return c.requestOnThread(ctx, "stepIn", thread)
}

// StepOut continues to the caller.
func (c *Client) StepOut(ctx context.Context, thread int) error {
	return c.requestOnThread(ctx, "stepOut", thread)
}

// Continue resumes the target.
func (c *Client) Continue(ctx context.Context, thread int) error {
	return c.requestOnThread(ctx, "continue", thread)
}

// Pause halts the target; a stopped event follows.
func (c *Client) Pause(ctx context.Context, thread int) error {
	return c.requestOnThread(ctx, "pause", thread)
}

// Disconnect ends the session. It leaves the connection open for [Client.Close].
func (c *Client) Disconnect(ctx context.Context, terminateDebuggee bool) error {
	_, err := c.Request(ctx, "disconnect", map[string]any{"restart": false, "terminateDebuggee": terminateDebuggee})
	return err
}

func (c *Client) requestOnThread(ctx context.Context, command string, thread int) error {
	_, err := c.Request(ctx, command, map[string]any{"threadId": thread})
	return err
}

// call sends a request and decodes the body of its response.
func call[B any](ctx context.Context, c *Client, command string, args any) (B, error) {
	var body B
	r, err := c.Request(ctx, command, args)
	if err != nil {
		return body, err
	}
	return body, decode(r, &body)
}

func decode(r *Response, body any) error {
	if err := json.Unmarshal(r.Body, body); err != nil {
		return fmt.Errorf("read the response to %s: %w", r.Command, err)
	}
	return nil
}
