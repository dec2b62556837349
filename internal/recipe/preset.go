package recipe

import (
	"fmt"
	"slices"
	"strings"
)

// Preset is what is known of a program that users deploy, besides what its
// executable says: that names the main package, the tags and -X. It is for people;
// Refused alone keeps deploy from something.
type Preset struct {
	Program string // the executable's base name
	Tested  string // the release that a test of dapbridge's deploys; "" if none does
	Build   string // what go build with CGO_ENABLED=0 makes of it
	Ready   string // how it is seen to serve
	Restart string // what a restart does to containers
	Refusal string // why it can't be deployed, "" if it can
}

// Presets returns all of them.
func Presets() []Preset {
	return []Preset{
		{
			Program: "containerd", Tested: "2.4.2",
			Build: "complete, but for snapshotters that need cgo (btrfs)",
			Ready: "CRI's `Version` on its socket", Restart: "they live on in their shims",
		}, {
			Program: "kubelet", Tested: "1.37.2",
			Build: "complete",
			Ready: "`/healthz` at 127.0.0.1:10248", Restart: "they live on; none is started or stopped meanwhile",
		}, {
			Program: "crio",
			Build:   "cgo libraries are missing (gpgme, libseccomp): take `--build` with its Makefile, in the node's image",
			Ready:   "CRI's `Version` on its socket", Restart: "they live on under conmon",
		}, {
			Program: "dockerd",
			Build:   "without what needs cgo, such as the log driver journald: `--build` takes its own way",
			Ready:   "`/_ping` on docker.sock", Restart: "it stops them, unless daemon.json has `\"live-restore\": true`",
		}, {
			Program: "k3s",
			Build:   "not known",
			Ready:   "active for 2 s", Restart: "not known; the containerd inside it is not the main process of a unit, and refused",
		}, {
			Program: "runc",
			Build:   "not possible: it needs cgo (nsenter)",
			Ready:   "–", Restart: "–",
			Refusal: "runc is no daemon: each container has its own, for a moment, and there is no unit to restart",
		},
	}
}

// PresetOf returns the preset of a program by its name, nil if there is none.
func PresetOf(program string) *Preset {
	all := Presets()
	if i := slices.IndexFunc(all, func(p Preset) bool { return p.Program == program }); i >= 0 {
		return &all[i]
	}
	return nil
}

// String says for people what to expect, in one line.
func (p Preset) String() string {
	tested := "untested"
	if p.Tested != "" {
		tested = "tested with " + p.Tested
	}
	return fmt.Sprintf("%s, %s; go build with CGO_ENABLED=0: %s; it serves when: %s; a restart and containers: %s",
		p.Program, tested, p.Build, p.Ready, p.Restart)
}

// PresetTable is Presets as a table in Markdown.
func PresetTable() string {
	var b strings.Builder
	b.WriteString("| program | tested | go build with `CGO_ENABLED=0` | serves when it answers | containers at a restart |\n| --- | --- | --- | --- | --- |\n")
	for _, p := range Presets() {
		tested := p.Tested
		switch {
		case p.Refusal != "":
			tested = "refused"
		case tested == "":
			tested = "untested"
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", p.Program, tested, p.Build, p.Ready, p.Restart)
	}
	return b.String()
}
