package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/dapbridge/dapbridge/internal/host/config"
	"github.com/dapbridge/dapbridge/internal/host/symbols"
)

// person is a user with a home directory and a workspace as the current directory.
type person struct {
	t      *testing.T
	home   string
	golden string // the directory of the golden files
}

func newPerson(t *testing.T) person {
	t.Helper()
	home, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	golden, err := filepath.Abs(filepath.Join("testdata", "config"))
	if err != nil {
		t.Fatal(err)
	}
	u := person{t, home, golden}
	u.write("src/go.mod", "module m\n")
	t.Chdir(filepath.Join(home, "src"))
	return u
}

func (u person) write(path, text string) {
	u.t.Helper()
	path = filepath.Join(u.home, path)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		u.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		u.t.Fatal(err)
	}
}

// run runs a command line, checks its exit status and returns its output, with HOME
// for the home directory and columns two spaces apart.
func (u person) run(status int, args ...string) string {
	u.t.Helper()
	got, out, err := invokeAt(u.t, u.home, args...)
	out = regexp.MustCompile("(?m)([^ \n])  +").ReplaceAllString(strings.ReplaceAll(out+err, u.home, "HOME"), "$1  ")
	if got != status {
		u.t.Errorf("%q: exit status %d, want %d\n%s", args, got, status, out)
	}
	return out
}

func (u person) checkOutput(status int, want string, args ...string) {
	u.t.Helper()
	if out := u.run(status, args...); !strings.Contains(out, want) {
		u.t.Errorf("the output of %q does not contain %q:\n%s", args, want, out)
	}
}

// TestConfig checks what config prints for values from each layer.
func TestConfig(t *testing.T) {
	u := newPerson(t)
	u.write(".config/dapbridge/config.yaml", "# mine\nnode: ssh:devnode\nlocal-nodes: [devnode, 10.0.0.7]\nidentity: ~/.ssh/key\n")
	u.write("src/dapbridge.yaml", "target: kubelet\nmap:\n  .: /go/src/k8s.io/kubernetes\n")
	t.Setenv("DAPBRIDGE_LINGER", "5m")
	checkFile(t, filepath.Join(u.golden, "config.txt"), []byte(u.run(0, "config", "--symbols", "auto")))

	var got struct {
		Workspace string
		Values    []struct {
			Key, Layer, File string
			Line             int
			Value            any
		}
	}
	if err := json.Unmarshal([]byte(u.run(0, "config", "-o", "json")), &got); err != nil || got.Workspace != "HOME/src/dapbridge.yaml" {
		t.Errorf("%+v, %v", got, err)
	}
	node := got.Values[slices.IndexFunc(config.Keys(), func(k config.Key) bool { return k.Name == "node" })]
	want := node
	want.Key, want.Layer, want.Value, want.File, want.Line = "node", "user", "ssh:devnode", "HOME/.config/dapbridge/config.yaml", 2
	if node != want {
		t.Errorf("got the value %+v, want %+v", node, want)
	}
}

// TestTrust follows a user whose workspace wants to set more than it may.
func TestTrust(t *testing.T) {
	u := newPerson(t)
	u.checkOutput(2, "has no dapbridge.yaml", "trust")
	u.write("src/dapbridge.yaml", "target: kubelet\nnode: \"ssh:x\\e[31m\"\nallow-non-local: true\n")
	u.checkOutput(2, "HOME/src/dapbridge.yaml:2: node connects to a machine", "ps")
	checkFile(t, filepath.Join(u.golden, "trust.txt"), []byte(u.run(0, "trust")))
	u.checkOutput(0, " (trusted)", "config")
	u.checkOutput(0, "trusted  ", "trust", "--list")

	u.write("src/dapbridge.yaml", "node: ssh:y\n")
	u.checkOutput(2, "has changed since you trusted it", "config")
	u.checkOutput(0, "changed  ", "trust", "--list")
	u.checkOutput(0, `"state":"changed"`, "trust", "--list", "-o", "json")
	u.checkOutput(0, `"path":"HOME/src/dapbridge.yaml"`, "trust", "dapbridge.yaml", "-o", "json")
	u.checkOutput(0, "ssh:y", "config")
	if err := os.Remove("dapbridge.yaml"); err != nil {
		t.Fatal(err)
	}
	u.checkOutput(0, "gone  ", "trust", "--list")
	u.checkOutput(0, "no longer trusted", "trust", "--remove")
	u.checkOutput(2, "is not trusted", "trust", "--remove")

	u.write("src/dapbridge.yaml", "root: /\n")
	u.checkOutput(2, "a workspace cannot set root", "trust")
	u.write("src/dapbridge.yaml", "target: kubelet\n")
	u.checkOutput(0, "nothing that needs trust", "trust", u.home+"/src")
	u.checkOutput(2, "is not a workspace file", "trust", "go.mod")
	u.checkOutput(2, "one file or directory", "trust", "--list", ".")
}

// TestCommandsAreConfigured checks that each command uses values from files and
// variables.
func TestCommandsAreConfigured(t *testing.T) {
	for _, command := range []string{"serve", "ps", "paths", "symbols"} {
		u := newPerson(t)
		t.Setenv("DAPBRIDGE_NODE", "gopher://x")
		u.checkOutput(2, `--node "gopher://x" is not one of minikube`, command)
		u.checkOutput(2, "(from DAPBRIDGE_NODE)", command)
		u.checkOutput(3, "minikube has no profile nowhere", command, "--node", "minikube:nowhere") // a flag wins

		t.Setenv("DAPBRIDGE_NODE", "")
		u.write(".config/dapbridge/config.yaml", "node: ssh://u@toy.invalid\n")
		u.checkOutput(3, "toy.invalid is neither a loopback address nor a minikube profile", command)
		u.checkOutput(3, "local-nodes", command)
		u.write(".config/dapbridge/config.yaml", "node: ssh://u@toy.invalid\nlocal-nodes: [TOY.invalid]\n")
		u.checkOutput(3, "toy.invalid", command)
		if out := u.run(3, command); strings.Contains(out, "loopback") {
			t.Errorf("%s ignores local-nodes:\n%s", command, out)
		}
	}
	u := newPerson(t)
	for _, ide := range []string{"vscode", "goland"} {
		u.write(".config/dapbridge/config.yaml", "listen: 127.0.0.1:4001\n")
		u.checkOutput(0, "wrote HOME/src/.", "init", ide)
		u.write(".config/dapbridge/config.yaml", "listen: unix:x\n")
		u.checkOutput(2, "(from HOME/.config/dapbridge/config.yaml:1)", "init", ide)
	}
	data, err := os.ReadFile(filepath.Join(u.home, "src", ".vscode", "launch.json"))
	if err != nil || !strings.Contains(string(data), "4001") {
		t.Errorf("%s, %v", data, err)
	}
	// A key for the port is not a mistake in a command without a port.
	t.Setenv("DAPBRIDGE_TAKEOVER", "true")
	u.checkOutput(3, "minikube has no profile nowhere", "serve", "--stdio", "--node", "minikube:nowhere")
	// The source given to symbols has a workspace file of its own.
	u.write("other/dapbridge.yaml", "listen: 127.0.0.1:1\n")
	u.checkOutput(2, "HOME/other/dapbridge.yaml:1", "symbols", "../other")
}

// TestNoHome checks that without a home directory, as in a system service, there are no
// user files, above all not those in the current directory.
func TestNoHome(t *testing.T) {
	u := newPerson(t)
	u.write("src/.config/dapbridge/config.yaml", "listen: 127.0.0.1:1\n")
	for command, want := range map[string]string{"config": "127.0.0.1:2345", "init vscode": "wrote"} {
		status, out, err := invokeAt(t, "", strings.Fields(command)...)
		outcome{0, want}.check(t, status, out+err)
	}
	status, _, err := invokeAt(t, "", "trust")
	outcome{2, "set HOME"}.check(t, status, err)
}

// TestFlagsAreKeys makes anybody who adds a flag decide whether it is a key.
func TestFlagsAreKeys(t *testing.T) {
	notKeys := map[string]string{
		"help": "", "version": "",
		"pid":      "changes when the process restarts",
		"output":   "a script's output must not depend on the user",
		"stdio":    "given by the IDE that starts the program",
		"dlv-addr": "changes when the dlv restarts",
		"exe":      "for one question", "print": "", "remove": "", "list": "", "fix": "",
		"name":   "is in the file that init writes",
		"keep":   "for the demo",
		"follow": "for one look", "since": "",
		"arg": "for one deploy, and undone by the next", "relax": "", "force": "for one restart, or one directory", "dry-run": "", "replaced": "for one file",
		"to": "belongs to the tree that is copied", "open": "", "watch": "", "verify": "",
	}
	eachCommand(newRoot(environment{getenv: os.Getenv}), func(cmd *cobra.Command) {
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			k, isKey := config.Find(f.Name)
			_, known := notKeys[f.Name]
			if isKey == known {
				t.Errorf("%s --%s: make it a key of the configuration, or add to notKeys why not", cmd.CommandPath(), f.Name)
			}
			if !isKey || cmd.Name() == "demo" {
				return
			}
			if f.DefValue != k.Default && !k.List() {
				t.Errorf("%s --%s has the default %q, the key %q", cmd.CommandPath(), f.Name, f.DefValue, k.Default)
			}
			if f.Shorthand != k.Short {
				t.Errorf("%s --%s has the shorthand %q, the key %q", cmd.CommandPath(), f.Name, f.Shorthand, k.Short)
			}
		})
	})
	if k, _ := config.Find("symbols"); !slices.Equal(k.Choices, []string{symbols.Ask, symbols.Auto, symbols.Never, symbols.Refuse}) {
		t.Errorf("symbols: %q", k.Choices)
	}
}

// TestEveryKeyIsUsed checks that each key is a flag of a command.
func TestEveryKeyIsUsed(t *testing.T) {
	used := map[string]bool{}
	eachCommand(newRoot(environment{getenv: os.Getenv}), func(cmd *cobra.Command) {
		if cmd.Name() != "config" {
			cmd.Flags().VisitAll(func(f *pflag.Flag) { used[f.Name] = true })
		}
	})
	for _, k := range config.Keys() {
		if !used[k.Name] || !regexp.MustCompile(`^[a-z]+(-[a-z]+)*$`).MatchString(k.Name) {
			t.Errorf("%s is not used, or is badly named", k.Name)
		}
	}
}
