package exe

import (
	"bytes"
	"debug/buildinfo"
	"debug/elf"
	"encoding/binary"
	"strings"

	"github.com/dapbridge/dapbridge/internal/diag"
)

// buildLimit bounds the strings of a Build in bytes, since it is sent to the host.
const buildLimit = 256 << 10

// Build is what an executable says about how it was built.
type Build struct {
	GoVersion     string            `json:"goVersion"`
	MainPackage   string            `json:"mainPackage"` // import path of the main package
	ModulePath    string            `json:"modulePath"`  // the main module's
	ModuleVersion string            `json:"moduleVersion"`
	Settings      map[string]string `json:"settings,omitempty"` // as in debug.BuildInfo; empty before Go 1.18
	MainFile      string            `json:"mainFile"`           // source file of main.main, "" if not found
	Stripped      bool              `json:"stripped"`           // no DWARF
	BuildID       string            `json:"buildID"`            // Go's own, not the GNU one
	Arch          string            `json:"arch"`               // as GOARCH names it
	PIE           bool              `json:"pie"`
	Trimpath      bool              `json:"trimpath"`
}

// Build reads the build information. The error's code is diag.TargetNotGo if the
// executable is not a Go program.
func (x *File) Build() (b *Build, err error) {
	err = withELF(x.r, func(e executable) error {
		b, err = e.readBuild()
		return err
	})
	if err != nil {
		return nil, err
	}
	return b, nil
}

func (e executable) readBuild() (*Build, error) {
	info, err := buildinfo.Read(e.r)
	if err != nil {
		return nil, diag.Errorf(diag.TargetNotGo, "not a Go program: %w", err)
	}
	b := &Build{
		GoVersion:     info.GoVersion,
		MainPackage:   info.Path,
		ModulePath:    info.Main.Path,
		ModuleVersion: info.Main.Version,
		Settings:      map[string]string{},
		MainFile:      e.findMainFile(),
		Stripped:      e.debugInfo() == nil,
		BuildID:       e.readBuildID(),
		Arch:          e.goarch(),
		PIE:           e.Type == elf.ET_DYN,
	}
	for _, s := range info.Settings {
		b.Settings[s.Key] = s.Value
	}
	b.Trimpath = b.Settings["-trimpath"] == "true"
	if b.size() > buildLimit {
		return nil, diag.Errorf(diag.TargetNotGo, "malformed executable: its build information has %d bytes", b.size())
	}
	return b, nil
}

// size returns the length of the strings, which whoever built the executable can
// choose.
func (b *Build) size() int {
	n := len(b.GoVersion) + len(b.MainPackage) + len(b.ModulePath) + len(b.ModuleVersion)
	for key, value := range b.Settings {
		n += len(key) + len(value)
	}
	return n
}

// debugInfo returns the section with DWARF's units, or nil.
func (e executable) debugInfo() *elf.Section {
	return e.section(".debug_info", ".zdebug_info")
}

// readBuildID returns the content of the note that Go's linker writes: name "Go\0\0",
// type 4.
func (e executable) readBuildID() string {
	s := e.section(".note.go.buildid")
	if s == nil || s.Size > 1<<10 {
		return ""
	}
	note, err := s.Data()
	if err != nil || len(note) < 16 || !bytes.Equal(note[12:16], []byte("Go\x00\x00")) {
		return ""
	}
	size := e.ByteOrder.Uint32(note[4:])
	return string(note[16:min(uint64(len(note)), 16+uint64(size))])
}

func (e executable) goarch() string {
	little := e.ByteOrder == binary.LittleEndian
	switch e.Machine {
	case elf.EM_X86_64:
		return "amd64"
	case elf.EM_AARCH64:
		return "arm64"
	case elf.EM_386:
		return "386"
	case elf.EM_PPC64:
		if little {
			return "ppc64le"
		}
		return "ppc64"
	case elf.EM_S390:
		return "s390x"
	case elf.EM_RISCV:
		return "riscv64"
	case elf.EM_LOONGARCH:
		return "loong64"
	}
	return strings.ToLower(strings.TrimPrefix(e.Machine.String(), "EM_")) // arm
}
