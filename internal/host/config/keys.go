package config

import (
	"slices"
	"strings"
	"time"
)

// Kind is the type of a key's value.
type Kind string

// The kinds of values.
const (
	Text     Kind = "text"
	Choice   Kind = "choice"    // one of Key.Choices
	Switch   Kind = "switch"    // true or false
	Duration Kind = "duration"  // Go's: 30s, 1m30s
	Path     Kind = "path"      // of a file or directory
	Address  Kind = "address"   // HOST:PORT, or unix:PATH
	Maps     Kind = "map"       // a list of HOST=NODE, or in a file HOST: NODE
	Hosts    Kind = "host list" // a list of names or addresses
)

// list reports whether a key of this kind can have several values.
func (k Kind) list() bool { return k == Maps || k == Hosts }

// Permission says whether a workspace's file may set a key.
type Permission int

const (
	// AfterTrust keys may be set by a file that the user has trusted.
	AfterTrust Permission = iota
	// Free keys may be set by any file.
	Free
	// Never keys may be set by no file.
	Never
)

// Key is one setting.
type Key struct {
	Name    string // in files, and of the flag
	Short   string // the flag's shorthand, if it has one
	Kind    Kind
	Choices []string      // of a Choice
	Default string        // as given to a flag; "" means no default
	Least   time.Duration // of a Duration
	Help    string        // the flag's usage text, with the value's name in backquotes
	NoFlag  bool

	// Workspace says whether a workspace's file may set the key, and Risk what
	// the file could do with it.
	Workspace Permission
	Risk      string
}

// Keys lists all keys, the most used first. Flags, validation, "dapbridge config"
// and docs/config.md are generated from it.
func Keys() []Key {
	return []Key{
		{Name: "target", Kind: Text, Default: "containerd", Help: "select the target by the `NAME` of its systemd unit or executable",
			Workspace: Free},
		{Name: "map", Kind: Maps, Help: "`HOST=NODE` maps source under HOST on this machine to NODE in the binary (repeatable; wins over inferred paths)",
			Workspace: Free},
		{Name: "root", Kind: Path, Default: ".", Help: "find the target's source in `DIR` on this machine",
			Workspace: Never, Risk: "decides where dapbridge looks for the workspace's file"},
		{Name: "node", Kind: Text, Help: "connect to `NODE`: minikube[:PROFILE[/NODE]], ssh:HOST, ssh://[USER@]HOST[:PORT], docker:CONTAINER, podman:CONTAINER or lima:INSTANCE (default: the running minikube profile)",
			Workspace: AfterTrust, Risk: "connects to a machine that you did not choose"},
		{Name: "identity", Short: "i", Kind: Path, Help: "log in to the node with the private key `FILE`",
			Workspace: AfterTrust, Risk: "logs in with a key that you did not choose"},
		{Name: "local-nodes", Kind: Hosts, NoFlag: true, Help: "hosts to accept as nodes without allow-non-local, although they are neither on this machine nor minikube nodes",
			Workspace: AfterTrust, Risk: "allows debugging a machine that others may depend on"},
		{Name: "allow-non-local", Kind: Switch, Default: "false", Help: "use a node that is neither on this machine nor a minikube profile",
			Workspace: AfterTrust, Risk: "allows debugging a machine that others may depend on"},
		{Name: "listen", Kind: Address, Default: "127.0.0.1:2345", Help: "listen for the IDE on `ADDRESS`, a loopback HOST:PORT or unix:PATH",
			Workspace: AfterTrust, Risk: "opens a port or replaces a socket"},
		{Name: "lease", Kind: Duration, Default: "30s", Least: time.Second, Help: "the node releases the target when it has not heard from dapbridge for this long",
			Workspace: AfterTrust, Risk: "can leave the target halted when the connection is lost"},
		{Name: "linger", Kind: Duration, Default: "0s", Help: "stay attached for this long after a session, so that the next one starts faster",
			Workspace: AfterTrust, Risk: "keeps the debugger attached when no session needs it"},
		{Name: "takeover", Kind: Switch, Default: "false", Help: "let a second IDE take over the session instead of refusing it",
			Workspace: AfterTrust, Risk: "lets a second IDE end your session"},
		{Name: "symbols", Kind: Choice, Choices: []string{"ask", "auto", "never", "refuse"}, Default: "ask", Help: "how to debug a stripped target; `MODE` is ask (with symbols that dapbridge symbols has built, or else without variables), auto (build them if needed), never (always without variables) or refuse (only with symbols)",
			Workspace: AfterTrust, Risk: "runs a build on this machine"},
		{Name: "sync", Kind: Choice, Choices: []string{"auto", "on", "off"}, Default: "auto", Help: "copy the source to the node while serving, like dapbridge sync --watch; `MODE` is auto (if this directory was copied to this node before), on or off",
			Workspace: AfterTrust, Risk: "writes files on the node"},
		{Name: "ldflags", Kind: Text, Help: "the linker `FLAGS` that the target was built with, if its build information does not record them",
			Workspace: AfterTrust, Risk: "names programs that a build runs"},
		{Name: "build", Kind: Text, Help: "build with this shell `COMMAND`, which writes the executable to \"$OUT\" for $GOOS and $GOARCH",
			Workspace: AfterTrust, Risk: "runs a command on this machine"},
		{Name: "ready", Kind: Duration, Default: "30s", Least: time.Second, Help: "give the deployed build this long to serve",
			Workspace: AfterTrust, Risk: "can keep a build that does not serve"},
		{Name: "agent", Kind: Path, Help: "run the dapbridge executable `FILE` on the node (default: this one, or one built for the node)",
			Workspace: AfterTrust, Risk: "runs a program as root on the node"},
		{Name: "log-level", Kind: Choice, Choices: []string{"debug", "info", "warn", "error"}, Default: "info", Help: "set the log `LEVEL`: debug, info, warn or error",
			Workspace: AfterTrust, Risk: "can hide warnings"},
	}
}

// Find returns the key called name.
func Find(name string) (Key, bool) {
	keys := Keys()
	i := slices.IndexFunc(keys, func(k Key) bool { return k.Name == name })
	if i < 0 {
		return Key{}, false
	}
	return keys[i], true
}

// Variable returns the name of the environment variable that sets the key.
func (k Key) Variable() string {
	return "DAPBRIDGE_" + strings.ToUpper(strings.ReplaceAll(k.Name, "-", "_"))
}

// List reports whether the key can have several values.
func (k Key) List() bool { return k.Kind.list() }

func (k Key) defaults() []string {
	if k.Default == "" && k.List() {
		return nil
	}
	return []string{k.Default}
}

// split returns the values in a variable; commas separate those of a list.
func (k Key) split(text string) []string {
	if k.List() {
		return strings.Split(text, ",")
	}
	return []string{text}
}
