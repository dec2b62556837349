package main

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"

	"github.com/dapbridge/dapbridge/internal/api"
	"github.com/dapbridge/dapbridge/internal/demo"
	"github.com/dapbridge/dapbridge/internal/host/link"
	"github.com/dapbridge/dapbridge/internal/host/node"
	"github.com/dapbridge/dapbridge/internal/host/remote"
	"github.com/dapbridge/dapbridge/internal/host/serve"
	"github.com/dapbridge/dapbridge/internal/host/source"
	"github.com/dapbridge/dapbridge/internal/host/sshconn"
)

// demoBridge is a daemon for the demo's node.
type demoBridge struct {
	addr  string
	stop  context.CancelFunc
	ended chan struct{}
	err   error // of the daemon; valid once ended is closed
}

// serveDemo starts a daemon for the demo's node and returns once it listens.
func serveDemo(ctx context.Context, env environment, log *slog.Logger, c demo.ServeConfig) (demo.Bridge, error) {
	cfg, err := demoConfig(env, log, c)
	if err != nil {
		return nil, err
	}
	run, stop := context.WithCancel(context.WithoutCancel(ctx))
	b := &demoBridge{stop: stop, ended: make(chan struct{})}
	ready := make(chan string, 1)
	go func() {
		defer close(b.ended)
		b.err = serve.Run(run, cfg, func(r serve.Ready) { ready <- r.Listen })
	}()
	select {
	case b.addr = <-ready:
		return b, nil
	case <-b.ended:
		stop()
		return nil, b.err
	case <-ctx.Done():
		return nil, b.Close(context.Background())
	}
}

func demoConfig(env environment, log *slog.Logger, c demo.ServeConfig) (serve.Config, error) {
	n, err := node.Resolve(node.Options{
		Spec: "ssh://" + c.User + "@" + c.SSHAddr, Identity: c.KeyFile, User: c.User, GOOS: runtime.GOOS,
	})
	if err != nil {
		return serve.Config{}, err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return serve.Config{}, err
	}
	agent, err := agentSource("", filepath.Join(cache, "dapbridge"), log)
	return serve.Config{
		Link: link.Config{
			SSH:    sshconn.Config{Node: n, KnownHosts: []string{c.KnownHosts}, Log: log},
			Agent:  agent,
			Upload: remote.UploadOptions{Dirs: c.AgentDirs, Progress: env.progress.transfer("uploading the agent"), Log: log},
			Target: api.Selector{PID: c.PID},
			Lease:  defaultLease,
			Log:    log,
		},
		Source: source.Config{Root: c.Root, CacheDir: filepath.Join(cache, "dapbridge"), Log: log},
		Listen: "127.0.0.1:0",
	}, err
}

// Addr implements [demo.Bridge].
func (b *demoBridge) Addr() string { return b.addr }

// Close implements [demo.Bridge].
func (b *demoBridge) Close(ctx context.Context) error {
	b.stop()
	select {
	case <-b.ended:
		return b.err
	case <-ctx.Done():
		return ctx.Err()
	}
}
