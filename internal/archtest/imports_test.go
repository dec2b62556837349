package archtest

import (
	"maps"
	"slices"
	"strings"
)

// layer says what of ours a package and those below it may import, besides
// each other. A package that stands nowhere may import what it likes, but cmd.
type layer struct {
	dir    string
	may    []string
	reason string
}

func layers() []layer {
	const (
		diag   = "internal/diag"
		api    = "internal/api"
		exe    = "internal/exe"
		idle   = "internal/idle"
		delta  = "internal/delta"
		node   = "internal/host/node"
		remote = "internal/host/remote"
		peer   = "internal/host/peer"
		recipe = "internal/host/recipe"
		groups = "internal/host/procgroup"
		git    = "internal/host/gitrepo"
		gocmd  = "internal/host/gocmd"
		link   = "internal/host/link"
		source = "internal/host/source"
		small  = "it runs as root on the node: it stays small, and needs nothing of the host"
	)
	return []layer{
		{diag, nil, "everybody imports it"},
		{idle, nil, "it times a peer's silence and knows no more"},
		{delta, nil, "it packs bytes and knows no node"},
		{exe, []string{diag}, "it reads a file that nobody trusts, on either side"},
		{api, []string{exe, diag}, "it is what host and node say to each other: neither's code"},
		{"pathmap", nil, "it is pure, so that it can be fuzzed and used by others"},
		{"bridge", []string{"pathmap", diag, peer}, "it knows two protocols and reaches the agent through a Dialer of its own; what carries them is not its business"},
		{"vscode", []string{diag}, "it writes files and needs no node"},
		{"goland", []string{diag}, "it writes a file and needs no node"},

		{"internal/agent", []string{api, exe, idle, delta, diag}, small},
		{"internal/agent/procfs", []string{api, exe, diag}, "it reads /proc and changes nothing but a target's text"},
		{"internal/agent/functable", []string{exe}, "it reads a process that nobody trusts, and knows no debugger"},
		{"internal/agent/receive", []string{api, diag}, "it writes what a host sends and knows no debugger"},
		{"internal/agent/swap", []string{"internal/agent/procfs", api, exe, idle, delta, diag}, "it reaches a session through functions that it is given"},

		{"internal/host", []string{"bridge", "pathmap", api, exe, idle, delta, diag}, "it runs as the user: what runs as root on the node is reached by the link alone"},
		{"internal/host/config", []string{"pathmap", diag}, "it says what the user wants and does none of it"},
		{peer, []string{diag}, "it asks the operating system alone"},
		{"internal/host/control", []string{peer, diag}, "it carries requests and does not know which"},
		{node, []string{diag}, "it names nodes and does not connect to them"},
		{remote, []string{idle, diag}, "it uploads a program over any connection that runs commands, and does not know which"},
		{"internal/host/sshconn", []string{remote, node, diag}, "it carries bytes and programs and does not know which"},
		{"internal/host/execconn", []string{remote, node, diag}, "it carries bytes and programs and does not know which"},
		{git, []string{groups}, "it reads repositories that nobody has inspected, and knows no node"},
		{gocmd, []string{groups}, "it runs the go command and knows no node"},
		{"internal/host/gosource", []string{git, diag}, "it knows the host's Go and no node"},
		{recipe, []string{exe, diag}, "it is pure: facts of an executable in, a recipe out"},
		{groups, nil, "it starts programs and knows none"},
		{"internal/host/symbols/debugfile", nil, "it copies a file and knows no more"},
		{"internal/host/symbols/gopart", []string{exe}, "it compares two executables and knows no node"},
		{"internal/host/symbols/twin", []string{git, gocmd, groups, recipe, "internal/host/symbols/gopart", "internal/host/symbols/debugfile", exe, diag}, "it builds on the host and knows no node"},
		{"internal/host/filesync", []string{api, remote, groups, diag}, "it copies files and knows no debugger"},
		{link, []string{remote, "internal/host/sshconn", "internal/host/execconn", api, exe, diag}, "it carries questions to the agent and does not know who asks"},
		{source, []string{link, "internal/host/gosource", "bridge", "pathmap", api, exe, diag}, "it finds source and starts no session"},
		{"internal/host/symbols", []string{link, remote, recipe, git, gocmd, groups, api, exe, diag}, "each command has a package of its own: what two of them share is below them"},
		{"internal/host/getsource", []string{link, recipe, git, gocmd, groups, "internal/host/gosource", api, exe, diag}, "each command has a package of its own: what two of them share is below them"},
		{"internal/host/deploy", []string{link, remote, recipe, groups, "internal/delta", api, exe, diag}, "each command has a package of its own: what two of them share is below them"},
		{"internal/host/logs", []string{link, remote, api, diag}, "each command has a package of its own: what two of them share is below them"},
		{"internal/host/srcsync", []string{link, source, "internal/host/filesync", api, diag}, "each command has a package of its own: what two of them share is below them"},
		{"internal/host/doctor", []string{link, source, "internal/host/symbols", "internal/host/filesync", api, exe, diag}, "it looks, and changes nothing but dapbridge's own files"},

		{"internal/testenv", nil, "tests of every package import it"},
	}
}

// restricted is what only some may import, tests excepted.
type restricted struct {
	path   string // and what is below it
	only   []string
	reason string
}

func restrictions() []restricted {
	return []restricted{
		{"github.com/go-delve/delve", []string{"internal/agent/worker", "internal/demo", "e2e"}, "Delve's types are not ours: the worker alone holds the debugger, and a new Delve changes one package"},
		{"golang.org/x/crypto/ssh", []string{"internal/host/sshconn", "internal/demo", "e2e"}, "host keys and quoting are checked in one place"},
		{"github.com/klauspost/compress", []string{"internal/delta"}, "what the node unpacks is bounded in one place"},
		{"go.yaml.in/yaml", []string{"internal/host/config"}, "what a file may say, and how large it may grow, is checked in one place"},
		{"github.com/fsnotify/fsnotify", []string{"internal/host/filesync"}, "watching has one owner"},
		{"./internal/testenv", []string{"e2e"}, "it is for tests"},
		{"./internal/agent", []string{"internal/agent", "cmd"}, "what runs as root on the node is reached by the link alone"},
		{"./internal/host", []string{"internal/host", "bridge", "cmd", "internal/demo", "e2e"}, "what runs on the host must not get onto the node"},
		{"./cmd", nil, "commands are the top: what two of them share is a package below"},
	}
}

// onNode returns the modules that the packages below internal/agent may depend
// on, directly or through others of ours, and why. Whatever is linked there runs as
// root.
func onNode() map[string]string {
	return map[string]string{
		"github.com/go-delve/delve":     "the debugger",
		"github.com/google/go-dap":      "the types of its session",
		"github.com/creachadair/jrpc2":  "the link's protocol",
		"github.com/klauspost/compress": "unpacks a deployed build",
		"golang.org/x/sys":              "system calls that the standard library lacks",
	}
}

func (r *repository) checkLayers() []violation {
	var all []violation
	for _, f := range r.source {
		for _, l := range layers() {
			if f.test || !within(f.dir, l.dir) {
				continue
			}
			for p, spec := range r.imports(f) {
				ours, isOurs := strings.CutPrefix(p, "./")
				if isOurs && !within(ours, append(l.may, l.dir)...) {
					all = append(all, violation{r.at(spec.Pos(), "%s imports %s", f.dir, ours), l.dir + ": " + l.reason})
				}
			}
		}
	}
	return all
}

func (r *repository) checkRestrictions() []violation {
	var all []violation
	for _, f := range r.source {
		for p, spec := range r.imports(f) {
			for _, x := range restrictions() {
				if within(p, x.path) && !f.test && !within(f.dir, x.only...) {
					all = append(all, violation{r.at(spec.Pos(), "%s imports %s", f.dir, p), x.reason})
				}
			}
		}
	}
	return all
}

// checkPure keeps the system out of pathmap and recipe.
func (r *repository) checkPure() []violation {
	var all []violation
	for _, f := range r.source {
		if f.test || !within(f.dir, "pathmap", "internal/host/recipe") {
			continue
		}
		for p, spec := range r.imports(f) {
			switch p {
			case "os", "os/exec", "net", "net/http", "syscall":
				all = append(all, violation{r.at(spec.Pos(), "%s imports %s", f.dir, p), f.dir + " gets facts handed in: no file, no process, no network"})
			}
		}
	}
	return all
}

// checkSmall keeps everything but the modules in onNode out of what runs as root
// on the node, also where it is another package of ours that imports them.
func (r *repository) checkSmall() []violation {
	direct := map[string]map[string]bool{}
	for _, f := range r.source {
		if direct[f.dir] == nil {
			direct[f.dir] = map[string]bool{}
		}
		if f.test {
			continue
		}
		for p := range r.imports(f) {
			direct[f.dir][p] = true
		}
	}
	allowed := slices.Collect(maps.Keys(onNode()))
	var all []violation
	for dir := range direct {
		if !within(dir, "internal/agent") {
			continue
		}
		for _, p := range slices.Sorted(maps.Keys(reach(dir, direct))) {
			if isThirdParty(p) && !within(p, allowed...) {
				all = append(all, violation{dir + " depends on " + p, "it runs as root on the node, or begins so: what only the host needs is nothing but a risk there (onNode lists what may be linked)"})
			}
		}
	}
	return all
}

// isThirdParty reports whether an import path is neither the standard library's nor
// ours.
func isThirdParty(p string) bool {
	first, _, _ := strings.Cut(p, "/")
	return first != "." && strings.Contains(first, ".")
}

// reach returns what the package in dir imports, itself and through ours.
func reach(dir string, direct map[string]map[string]bool) map[string]bool {
	reached := map[string]bool{}
	var visit func(dir string)
	visit = func(dir string) {
		for p := range direct[dir] {
			if ours, isOurs := strings.CutPrefix(p, "./"); isOurs && !reached[p] {
				reached[p] = true
				visit(ours)
			}
			reached[p] = true
		}
	}
	visit(dir)
	return reached
}
