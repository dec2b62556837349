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
	const diag = "internal/diag"
	return []layer{
		{diag, nil, "everybody imports it"},
		{"pathmap", nil, "it is pure, so that it can be fuzzed and used by others"},
		{"bridge", []string{"pathmap", diag, "internal/peer"}, "it knows two protocols and reaches the agent through a Dialer of its own; what carries them is not its business"},
		{"vscode", []string{diag}, "it writes files and needs no node"},
		{"goland", []string{diag}, "it writes a file and needs no node"},
		{"internal/config", []string{"pathmap", diag}, "it says what the user wants and does none of it"},
		{"internal/peer", []string{diag}, "it asks the operating system alone"},
		{"internal/control", []string{"internal/peer", diag}, "it carries requests and does not know which"},
		{"internal/node", []string{diag}, "it names nodes and does not connect to them"},
		{"internal/remote", []string{"internal/idle", diag}, "it uploads a program over any connection that runs commands, and does not know which"},
		{"internal/sshconn", []string{"internal/remote", "internal/node", diag}, "it carries bytes and programs and does not know which"},
		{"internal/execconn", []string{"internal/remote", "internal/node", diag}, "it carries bytes and programs and does not know which"},
		{"internal/agent", []string{"internal/target", "internal/idle", diag}, "it runs as root on the node: it stays small"},
		{"internal/target", []string{diag}, "it runs as root on the node: it stays small"},
		{"internal/idle", nil, "it times a peer's silence and knows no more"},
		{"internal/delta", nil, "it packs bytes and knows no node"},
		{"internal/swap", []string{"internal/delta", "internal/idle", "internal/target", diag}, "it runs as root on the node: it stays small"},
		{"internal/gosource", []string{diag}, "it knows the host's Go and no node"},
		{"internal/recipe", []string{"internal/target", diag}, "it is pure: facts of an executable in, a recipe out"},
		{"internal/procgroup", nil, "it starts programs and knows none"},
		{"internal/debugfile", nil, "it copies a file and knows no more"},
		{"internal/twin", []string{"internal/procgroup", "internal/recipe", "internal/debugfile", "internal/target", diag}, "it builds on the host and knows no node"},
		{"internal/filesync", []string{"internal/remote", "internal/procgroup", diag}, "it copies files and knows no debugger"},
		{"internal/deploy", []string{"internal/procgroup", "internal/recipe", "internal/target", diag}, "it builds on the host and knows no node"},
		{"internal/testenv", nil, "tests of every package import it"},
		{"internal/doctor", []string{"internal/node", "internal/remote", "internal/target", "internal/gosource", diag}, "it looks and changes nothing"},
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
		{"golang.org/x/crypto/ssh", []string{"internal/sshconn", "internal/demo", "e2e"}, "host keys and quoting are checked in one place"},
		{"github.com/klauspost/compress", []string{"internal/delta"}, "what the node unpacks is bounded in one place"},
		{"go.yaml.in/yaml", []string{"internal/config"}, "what a file may say, and how large it may grow, is checked in one place"},
		{"github.com/fsnotify/fsnotify", []string{"internal/filesync"}, "watching has one owner"},
		{"./internal/testenv", []string{"e2e"}, "it is for tests"},
		{"./cmd", nil, "commands are the top: what two of them share is a package below"},
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
		if f.test || !within(f.dir, "pathmap", "internal/recipe") {
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

// checkSmall keeps the host's libraries out of what runs as root on the node,
// also where it is another package of ours that imports them.
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
	var all []violation
	for dir := range direct {
		if !within(dir, "internal/agent", "internal/swap", "internal/delta", "internal/target", "internal/filesync/receiver", "internal/filesync/tree") {
			continue
		}
		reached := reach(dir, direct)
		for _, p := range slices.Sorted(maps.Keys(reached)) {
			if within(p, "github.com/spf13/cobra", "golang.org/x/crypto", "github.com/tailscale/hujson", "github.com/fsnotify/fsnotify") {
				all = append(all, violation{dir + " depends on " + p, "agent, swap, target and the receiver run as root on the node, or begin so: what only the host needs is nothing but a risk there"})
			}
		}
	}
	return all
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
