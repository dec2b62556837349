package config

import (
	"slices"
	"strings"
	"time"
)

// Kind is what a key's value is.
type Kind string

// The kinds of values.
const (
	Text     Kind = "text"
	Choice   Kind = "choice"    // one of Key.Choices
	Switch   Kind = "switch"    // true or false
	Duration Kind = "duration"  // Go's: 30s, 1m30s
	Path     Kind = "path"      // a file's or a directory's
	Address  Kind = "address"   // HOST:PORT, or unix:PATH
	Maps     Kind = "map"       // a list of HOST=NODE, or in a file HOST: NODE
	Hosts    Kind = "host list" // a list of names or addresses
)

// list reports whether a key of this kind has several values.
func (k Kind) list() bool { return k == Maps || k == Hosts }

// Permission says who decides a key.
type Permission int

const (
	// AfterTrust keys may be set by a workspace's file that the user has trusted.
	AfterTrust Permission = iota
	// Free keys may be set by any.
	Free
	// Never keys can't be set by one at all.
	Never
)

// Key is something that can be configured.
type Key struct {
	Name    string // in files; also the flag's, if it has one
	Short   string // the flag's letter, if it has one
	Kind    Kind
	Choices []string      // of a Choice
	Default string        // as a flag is written; "" is none
	Least   time.Duration // of a Duration
	Help    string        // what it does, as the help of the flag says it
	NoFlag  bool

	// Workspace says whether a workspace's file may set it, and Risk what such
	// a file could do by it.
	Workspace Permission
	Risk      string
}

// Keys lists all keys, those that are set most first. Flags, validation,
// "dapbridge config" and docs/config.md are made of it.
func Keys() []Key {
	return []Key{
		{Name: "target", Kind: Text, Default: "containerd", Help: "the daemon to debug: its systemd unit or its executable's name",
			Workspace: Free},
		{Name: "map", Kind: Maps, Help: "HOST=NODE: source under HOST here is under NODE in the binary (repeatable; comes before what is worked out)",
			Workspace: Free},
		{Name: "root", Kind: Path, Default: ".", Help: "where the target's source is on this machine",
			Workspace: Never, Risk: "says where the workspace's file is looked for"},
		{Name: "node", Kind: Text, Help: "the node: minikube[:PROFILE[/NODE]], ssh:HOST, ssh://[USER@]HOST[:PORT], docker:CONTAINER, podman:CONTAINER or lima:INSTANCE (default: the minikube profile that runs)",
			Workspace: AfterTrust, Risk: "connects to a machine that you did not choose"},
		{Name: "identity", Short: "i", Kind: Path, Help: "private key file for the node",
			Workspace: AfterTrust, Risk: "logs in with a key that you did not choose"},
		{Name: "local-nodes", Kind: Hosts, NoFlag: true, Help: "hosts that are toys though they are neither on this machine nor minikube's: they need no allow-non-local",
			Workspace: AfterTrust, Risk: "lets a machine that matters be debugged"},
		{Name: "allow-non-local", Kind: Switch, Default: "false", Help: "use a node that is neither on this machine nor a minikube profile",
			Workspace: AfterTrust, Risk: "lets a machine that matters be debugged"},
		{Name: "listen", Kind: Address, Default: "127.0.0.1:2345", Help: "address for the IDE: a loopback HOST:PORT, or unix:PATH",
			Workspace: AfterTrust, Risk: "opens a port or replaces a socket"},
		{Name: "lease", Kind: Duration, Default: "30s", Least: time.Second, Help: "the node lets the daemon go when it has not heard from this program for so long",
			Workspace: AfterTrust, Risk: "can leave the daemon halted when the link is lost"},
		{Name: "linger", Kind: Duration, Default: "0s", Help: "stay attached for so long after a session, which makes the next one start faster",
			Workspace: AfterTrust, Risk: "keeps the debugger attached when no session needs it"},
		{Name: "takeover", Kind: Switch, Default: "false", Help: "a second IDE takes the session over, in place of being refused",
			Workspace: AfterTrust, Risk: "lets a second IDE end your session"},
		{Name: "symbols", Kind: Choice, Choices: []string{"ask", "auto", "never"}, Default: "ask", Help: "for a stripped daemon: ask (use what dapbridge symbols has built), auto (build it) or never (refuse it)",
			Workspace: AfterTrust, Risk: "runs a build on this machine"},
		{Name: "sync", Kind: Choice, Choices: []string{"auto", "on", "off"}, Default: "auto", Help: "copy the source to the node meanwhile, as dapbridge sync --watch does: auto (if this directory was copied to this node before), on or off",
			Workspace: AfterTrust, Risk: "writes files on the node"},
		{Name: "ldflags", Kind: Text, Help: "the linker's flags that the daemon was built with, where it does not record them",
			Workspace: AfterTrust, Risk: "names programs that a build runs"},
		{Name: "build", Kind: Text, Help: `deploy builds by this shell command, which writes the executable to "$OUT" for $GOOS and $GOARCH`,
			Workspace: AfterTrust, Risk: "runs a command on this machine"},
		{Name: "ready", Kind: Duration, Default: "30s", Least: time.Second, Help: "how long a deployed daemon may take until it serves",
			Workspace: AfterTrust, Risk: "can keep a daemon that does not serve"},
		{Name: "agent", Kind: Path, Help: "the dapbridge program file to run on the node (default: this one, or built for it)",
			Workspace: AfterTrust, Risk: "runs a program as root on the node"},
		{Name: "log-level", Kind: Choice, Choices: []string{"debug", "info", "warn", "error"}, Default: "info", Help: "debug, info, warn or error",
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

// List reports whether the key has several values.
func (k Key) List() bool { return k.Kind.list() }

func (k Key) defaults() []string {
	if k.Default == "" && k.List() {
		return nil
	}
	return []string{k.Default}
}

// split returns the values that a variable holds: a list's are separated by
// commas.
func (k Key) split(text string) []string {
	if k.List() {
		return strings.Split(text, ",")
	}
	return []string{text}
}
