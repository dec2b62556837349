package twin

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/dapbridge/dapbridge/internal/host/recipe"
)

// Changes are what a twin's build does differently from an ordinary one.
type Changes struct {
	Rules  []string        // -trimpath rules, HOST=>BUILD, of which the first match wins
	GOROOT string          // that the program reports; "" leaves it unchanged
	Stamp  recipe.Recorded // is written into the program's build information
	// Relocations says that an external linker keeps its relocations.
	Relocations bool
}

// RunTool runs a tool of the Go toolchain for a twin's build, as the -toolexec program.
// tool is the command, whose arguments it changes. It returns the tool's exit status.
func RunTool(tool []string, c Changes, env []string, stdout, stderr io.Writer) (status int, err error) {
	name := strings.TrimSuffix(filepath.Base(tool[0]), ".exe")
	versionQuery := slices.Contains(tool[1:], "-V=full")
	args := c.toolArgs(name, tool[1:])
	if name == "link" && !versionQuery {
		if args, err = stampArgs(args, c.Stamp); err != nil {
			return 1, err
		}
	}
	var version bytes.Buffer
	cmd := exec.Command(tool[0], args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr, cmd.Env = os.Stdin, stdout, stderr, env
	if versionQuery {
		cmd.Stdout = &version
	}
	if name == "link" && c.GOROOT != "" && !versionQuery {
		// The linker writes the GOROOT of its environment into the program
		// (cmd/link/internal/ld, runtime.defaultGOROOT).
		cmd.Env = append(slices.Clone(env), "GOROOT="+c.GOROOT)
	}
	if err := cmd.Run(); err != nil {
		if exit, ok := errors.AsType[*exec.ExitError](err); ok {
			return max(exit.ExitCode(), 1), nil
		}
		return 1, err
	}
	if versionQuery {
		line := version.Bytes()
		if c.changeOutput(name) {
			line = c.versionLine(name, line)
		}
		_, err = stdout.Write(line)
	}
	return 0, err
}

// changeOutput reports whether a tool's output may differ from that of an ordinary
// build. The packages of a program built with -trimpath are compiled as usual, so
// that ordinary builds and twins share the cache for them.
func (c Changes) changeOutput(tool string) bool {
	return tool == "link" || len(c.Rules) > 0 || c.GOROOT != ""
}

// toolArgs returns a tool's arguments for a twin: the compiler and the assembler get
// the rules before their own -trimpath, the linker does not strip.
func (c Changes) toolArgs(name string, args []string) []string {
	args = slices.Clone(args)
	switch name {
	case "compile", "asm":
		prefix := strings.Join(c.Rules, ";")
		if prefix == "" {
			return args
		}
		for i := range args {
			switch value, ok := strings.CutPrefix(args[i], "-trimpath="); {
			case ok:
				args[i] = "-trimpath=" + prefix + ";" + value
			case args[i] == "-trimpath" && i+1 < len(args):
				args[i+1] = prefix + ";" + args[i+1]
			}
		}
	case "link":
		args = slices.DeleteFunc(args, func(a string) bool { return a == "-s" || a == "-w" || a == "--s" || a == "--w" })
		if c.Relocations {
			args = keepRelocations(args)
		}
	}
	return args
}

// keepRelocations changes the linker's arguments so that the external linker keeps its
// relocations, and those of the debug information fit because it is not compressed.
func keepRelocations(args []string) []string {
	external := "" // the value of the last -extldflags, which is the one that counts
	var others []string
	for i := 0; i < len(args); i++ {
		flag, value, joined := strings.Cut(args[i], "=")
		if strings.HasPrefix(flag, "--") {
			flag = flag[1:]
		}
		switch {
		case flag == "-compressdwarf":
		case flag == "-extldflags" && joined:
			external = value
		case flag == "-extldflags" && i+1 < len(args):
			i++
			external = args[i]
		default:
			others = append(others, args[i])
		}
	}
	external = strings.TrimSpace(external + " -Wl,--emit-relocs")
	return append([]string{"-compressdwarf=false", "-extldflags=" + external}, others...)
}

// versionLine adds a hash of our changes to a tool's answer to -V=full. The go command
// makes the answer part of its cache keys (cmd/go/internal/work, toolID), so that all
// twins can share one build cache.
func (c Changes) versionLine(tool string, line []byte) []byte {
	changes := append(slices.Clone(c.Rules), c.GOROOT)
	if tool == "link" {
		changes = append(changes, c.linkFlags()...)
	}
	sum := sha256.Sum256([]byte(strings.Join(changes, "\x00")))
	return append(bytes.TrimRight(line, "\r\n"), " twin/1/"+hex.EncodeToString(sum[:8])+"\n"...)
}

// linkFlags returns the toolexec command's flags for what the linker does differently.
func (c Changes) linkFlags() []string {
	flags := c.Stamp.Flags()
	if c.Relocations {
		flags = append(flags, "--relocations")
	}
	return flags
}

// toolexecValue returns the value of -toolexec: the command with its flags, quoted as
// the go command splits it (cmd/internal/quoted).
func toolexecValue(command []string, c Changes) (string, error) {
	words := slices.Clone(command)
	for _, r := range c.Rules {
		words = append(words, "--map="+r)
	}
	if c.GOROOT != "" {
		words = append(words, "--goroot="+c.GOROOT)
	}
	words = append(words, c.linkFlags()...)
	words = append(words, "--")
	for i, w := range words {
		switch {
		case !strings.ContainsAny(w, " \t\n\r'\""):
		case !strings.Contains(w, "'"):
			words[i] = "'" + w + "'"
		case !strings.Contains(w, `"`):
			words[i] = `"` + w + `"`
		default:
			return "", buildError("cannot pass %s to the go command: it contains both kinds of quotes", w)
		}
	}
	return strings.Join(words, " "), nil
}
