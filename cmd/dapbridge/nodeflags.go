package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"time"

	"github.com/spf13/cobra"

	"github.com/dapbridge/dapbridge/internal/api"
	"github.com/dapbridge/dapbridge/internal/host/link"
	"github.com/dapbridge/dapbridge/internal/host/node"
	"github.com/dapbridge/dapbridge/internal/host/remote"
	"github.com/dapbridge/dapbridge/internal/host/source"
	"github.com/dapbridge/dapbridge/internal/host/sshconn"
	"github.com/dapbridge/dapbridge/internal/host/symbols"
)

// nodeFlags are the flags of every command that connects to a node.
type nodeFlags struct {
	node          string
	identity      string
	allowNonLocal bool
	localNodes    []string
	root          string
	target        string
	pid           int
	agent         string
	logLevel      string
}

func (f *nodeFlags) add(cmd *cobra.Command, env environment) {
	textFlag(cmd, env, &f.node, "node")
	textFlag(cmd, env, &f.identity, "identity")
	switchFlag(cmd, env, &f.allowNonLocal, "allow-non-local")
	listFlag(cmd, env, &f.localNodes, "local-nodes")
	textFlag(cmd, env, &f.root, "root")
	textFlag(cmd, env, &f.target, "target")
	cmd.Flags().IntVar(&f.pid, "pid", 0, "select the target by its `PID` on the node")
	textFlag(cmd, env, &f.agent, "agent")
	textFlag(cmd, env, &f.logLevel, "log-level")
}

// nodeConfig is what the flags say about the node, the source and symbols; each command
// takes what it needs.
type nodeConfig struct {
	link    link.Config
	source  source.Config
	symbols symbols.Config
}

// config turns the flags into configurations. Nothing is contacted yet.
func (f *nodeFlags) config(env environment) (nodeConfig, error) {
	log, err := env.logger(f.logLevel)
	if err != nil {
		return nodeConfig{}, err
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return nodeConfig{}, err
	}
	n, err := node.Resolve(node.Options{
		Spec: f.node, Identity: f.identity, MinikubeHome: env.getenv("MINIKUBE_HOME"), LimaHome: env.getenv("LIMA_HOME"),
		Home: home, User: userName(env), GOOS: runtime.GOOS,
		DockerHost: env.getenv("DOCKER_HOST"), ContainerHost: env.getenv("CONTAINER_HOST"),
		SSH: sshCommand(), Shell: env.getenv("SHELL"), LocalNodes: f.localNodes,
		Running: sshconn.IsListening,
	})
	if err != nil {
		return nodeConfig{}, err
	}
	if err := node.CheckLocal(n, f.allowNonLocal); err != nil {
		return nodeConfig{}, err
	}
	root, err := filepath.Abs(f.root)
	if err != nil {
		return nodeConfig{}, err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return nodeConfig{}, err
	}
	cache = filepath.Join(cache, "dapbridge")
	state := stateDir(env, home)
	if err := errors.Join(makePrivateDir(cache), makePrivateDir(state)); err != nil {
		return nodeConfig{}, err
	}
	c := nodeConfig{
		link: link.Config{
			SSH: sshconn.Config{
				Node: n, AgentSocket: env.getenv("SSH_AUTH_SOCK"), Log: log,
				PinFile: filepath.Join(state, "pinned_hosts"),
			},
			Upload:      remote.UploadOptions{Progress: env.progress.transfer("uploading the agent"), Log: log},
			Target:      api.Selector{Name: f.target, PID: f.pid},
			Lease:       defaultLease,
			IdleTimeout: env.idleTimeout,
			Self:        describeSelf(userName(env)),
			Log:         log,
		},
		source: source.Config{Root: root, CacheDir: cache, Log: log},
	}
	if c.symbols, err = f.symbolsConfig(root, cache, log); err != nil {
		return c, err
	}
	c.link.Agent, err = agentSource(f.agent, cache, log)
	return c, err
}

// describeSelf returns who runs this program where, for other users of the node.
func describeSelf(user string) string {
	host, err := os.Hostname()
	if err != nil {
		host = "another machine"
	}
	return fmt.Sprintf("pid %d of %s on %s", os.Getpid(), user, host)
}

// sshCommand returns the path of OpenSSH's client, or "".
func sshCommand() string {
	path, err := exec.LookPath("ssh")
	if err != nil {
		return ""
	}
	return path
}

const defaultLease = 30 * time.Second

// agentSource returns where this program's agents come from, or file as the only one.
func agentSource(file, cache string, log *slog.Logger) (remote.AgentSource, error) {
	self, err := os.Executable()
	if err != nil {
		return remote.AgentSource{}, err
	}
	if resolved, err := filepath.EvalSymlinks(self); err == nil {
		self = resolved // the agents are beside the file itself
	}
	return remote.AgentSource{
		Self: self, Version: version(), Sum: ownModule().Sum, Built: builtAgents(),
		File: file, CacheDir: cache, Log: log,
	}, nil
}

// stateDir returns the directory of dapbridge's persistent state (XDG Base Directory
// Specification, XDG_STATE_HOME).
func stateDir(env environment, home string) string {
	if dir := env.getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "dapbridge")
	}
	return filepath.Join(home, ".local", "state", "dapbridge")
}

func userName(env environment) string {
	if u, err := user.Current(); err == nil && u.Username != "" {
		return u.Username
	}
	return env.getenv("USER")
}
