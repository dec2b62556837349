package recipe

import (
	"fmt"
	"slices"
	"strings"
)

// Preset describes a program that users deploy: what its executable does not record.
// It is information for the user; only Refusal changes what deploy does.
type Preset struct {
	Program string // the executable's base name
	Tested  string // the release that dapbridge's tests deploy; "" if they deploy none
	Build   string // what is missing from a go build with CGO_ENABLED=0
	Ready   string // how deploy checks that it serves
	Restart string // what happens to containers when it restarts
	Refusal string // why it cannot be deployed, "" if it can
}

// Presets returns all presets.
func Presets() []Preset {
	return []Preset{
		{
			Program: "containerd", Tested: "2.4.2",
			Build: "complete except for snapshotters that need cgo (btrfs)",
			Ready: "CRI `Version` on its socket", Restart: "keep running under their shims",
		}, {
			Program: "kubelet", Tested: "1.37.2",
			Build: "complete",
			Ready: "`/healthz` on 127.0.0.1:10248", Restart: "keep running; none is started or stopped meanwhile",
		}, {
			Program: "crio",
			Build:   "lacks cgo libraries (gpgme, libseccomp): use `--build` with its Makefile, in the node's image",
			Ready:   "CRI `Version` on its socket", Restart: "keep running under conmon",
		}, {
			Program: "dockerd",
			Build:   "lacks what needs cgo, such as the journald log driver: use `--build` with its own build script",
			Ready:   "`/_ping` on docker.sock", Restart: "stop, unless daemon.json has `\"live-restore\": true`",
		}, {
			Program: "k3s",
			Build:   "unknown",
			Ready:   "active for 2 s", Restart: "unknown; its embedded containerd is not the main process of a unit and is refused",
		}, {
			Program: "runc",
			Build:   "impossible: it needs cgo (nsenter)",
			Ready:   "–", Restart: "–",
			Refusal: "runc is not a daemon: it runs briefly for each container, and there is no unit to restart",
		},
	}
}

// PresetOf returns the preset of the named program, nil if there is none.
func PresetOf(program string) *Preset {
	all := Presets()
	if i := slices.IndexFunc(all, func(p Preset) bool { return p.Program == program }); i >= 0 {
		return &all[i]
	}
	return nil
}

// String returns a line for the user.
func (p Preset) String() string {
	tested := "untested"
	if p.Tested != "" {
		tested = "tested with " + p.Tested
	}
	return fmt.Sprintf("%s, %s; go build with CGO_ENABLED=0: %s; readiness check: %s; containers at a restart: %s",
		p.Program, tested, p.Build, p.Ready, p.Restart)
}

// PresetTable returns the presets as a Markdown table.
func PresetTable() string {
	var b strings.Builder
	b.WriteString("| program | tested | go build with `CGO_ENABLED=0` | readiness check | containers at a restart |\n| --- | --- | --- | --- | --- |\n")
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
