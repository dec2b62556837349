package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/dapbridge/dapbridge/internal/dapclient"
	"github.com/dapbridge/dapbridge/internal/diag"
)

// cleanupTime bounds the cleanup after the demo's context has ended.
const cleanupTime = 15 * time.Second

func run(ctx context.Context, o Options) (err error) {
	dir, err := os.MkdirTemp(o.WorkDir, "dapbridge-demo-")
	if err != nil {
		return diag.Errorf(diag.WriteFailed, "make the demo's directory: %w", err)
	}
	defer func() {
		if e := os.RemoveAll(dir); e != nil {
			err = errors.Join(err, diag.Errorf(diag.WriteFailed, "remove the demo's directory: %w", e))
		}
	}()
	// The compiler records the directory without symbolic links.
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		return fmt.Errorf("resolve the demo's directory: %w", err)
	}
	r := &report{out: o.Out, start: time.Now()}
	r.printf("This needs neither a cluster nor root: everything runs on this machine, in\n%s\n", dir)
	if err := withSample(ctx, o, r, dir); err != nil {
		return err
	}
	r.printf("\nAll steps passed in %s.", seconds(time.Since(r.start)))
	return nil
}

// withSample builds and starts the target and the node's SSH server, runs the rest
// of the demo, and ends both.
func withSample(ctx context.Context, o Options, r *report, dir string) error {
	var target *sample
	err := r.step(ctx, "build the sample", 5*time.Minute, func(ctx context.Context) (_ string, err error) {
		target, err = newSample(ctx, dir)
		return "built from build/greeter; the copy to edit is workspace/greeter", err
	})
	if err != nil {
		return err
	}
	defer target.stop()
	err = r.step(ctx, "start the sample", 10*time.Second, func(ctx context.Context) (string, error) {
		if err := target.start(ctx); err != nil {
			return "", err
		}
		return fmt.Sprintf("pid %d, %d requests handled", target.pid(), target.heartbeats()), nil
	})
	if err != nil {
		return err
	}
	var node ServeConfig
	var server io.Closer
	err = r.step(ctx, "start an SSH server", 10*time.Second, func(context.Context) (_ string, err error) {
		node, server, err = StartNode(filepath.Join(dir, "node"), o.Log)
		return node.SSHAddr, err
	})
	if err != nil {
		return err
	}
	node.PID, node.Root = target.pid(), target.workspace
	err = withBridge(ctx, o, r, target, node)
	return errors.Join(err, server.Close())
}

// StartNode starts an SSH server on the loopback interface that runs commands as the
// current user, and describes it. Its files are below dir, which must be private to the
// user. Tests use it to debug, without root, what runs on this machine.
func StartNode(dir string, log *slog.Logger) (ServeConfig, io.Closer, error) {
	server, err := startSSH(dir, log)
	if err != nil {
		return ServeConfig{}, nil, err
	}
	return ServeConfig{
		SSHAddr: server.addr, User: sshUser, KeyFile: server.keyFile, KnownHosts: server.knownHosts,
		AgentDirs: []string{filepath.Join(dir, "agent")},
	}, server, nil
}

// withBridge starts the bridge, runs a session through it and ends it. Whatever
// happened, it then checks that the target has survived.
func withBridge(ctx context.Context, o Options, r *report, target *sample, c ServeConfig) error {
	var bridge Bridge
	err := r.step(ctx, "start the bridge", 2*time.Minute, func(ctx context.Context) (_ string, err error) {
		if bridge, err = o.Serve(ctx, c); err != nil {
			return "", err
		}
		return "DAP at " + bridge.Addr(), nil
	})
	if err == nil {
		err = debug(ctx, o, r, target, bridge)
		if err == nil && o.Keep {
			err = keepServing(ctx, r, target, bridge)
		}
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTime)
		defer cancel()
		if e := bridge.Close(closing); e != nil {
			err = errors.Join(err, fmt.Errorf("end the bridge: %w", e))
		}
	}
	alive := r.step(context.WithoutCancel(ctx), "sample still running", cleanupTime, func(ctx context.Context) (string, error) {
		if err := target.checkAlive(ctx); err != nil {
			return "", err
		}
		return fmt.Sprintf("pid %d, %d requests handled", target.pid(), target.heartbeats()), nil
	})
	return errors.Join(err, alive)
}

// debug runs a session and releases the target even if a step failed.
func debug(ctx context.Context, o Options, r *report, target *sample, bridge Bridge) error {
	client, err := dapclient.Dial(ctx, "tcp", bridge.Addr(), o.dial...)
	if err != nil {
		return err
	}
	s := &session{sample: target, client: client, report: r}
	if o.attachArgs != nil {
		s.args = o.attachArgs(target.build, target.workspace)
	}
	err = s.run(ctx)
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTime)
	defer cancel()
	return errors.Join(err, s.end(ending))
}

// keepServing keeps everything running for the user's own IDE until ctx ends.
func keepServing(ctx context.Context, r *report, target *sample, bridge Bridge) error {
	host, port, err := net.SplitHostPort(bridge.Addr())
	if err != nil {
		return fmt.Errorf("parse the bridge's address: %w", err)
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		return fmt.Errorf("parse the bridge's address: %w", err)
	}
	config, err := json.MarshalIndent(launchConfig(host, number), "", "\t")
	if err != nil {
		return fmt.Errorf("encode launch.json: %w", err)
	}
	file := filepath.Join(target.workspace, ".vscode", "launch.json")
	err = errors.Join(os.MkdirAll(filepath.Dir(file), 0o700), os.WriteFile(file, append(config, '\n'), 0o600))
	if err != nil {
		return diag.Errorf(diag.WriteFailed, "write launch.json: %w", err)
	}
	r.printf("\nOpen this directory in VS Code, set a breakpoint in handle (main.go) and press F5:\n  %s\nIts .vscode/launch.json:\n%s\nPress Ctrl-C to end the demo and remove the directory.\n", target.workspace, config)
	<-ctx.Done()
	return nil
}

func launchConfig(host string, port int) any {
	type configuration struct {
		Name         string `json:"name"`
		Type         string `json:"type"`
		Request      string `json:"request"`
		Mode         string `json:"mode"`
		DebugAdapter string `json:"debugAdapter"`
		Host         string `json:"host"`
		Port         int    `json:"port"`
	}
	return struct {
		Version        string          `json:"version"`
		Configurations []configuration `json:"configurations"`
	}{"0.2.0", []configuration{{"dapbridge demo", "go", "attach", "remote", "dlv-dap", host, port}}}
}
