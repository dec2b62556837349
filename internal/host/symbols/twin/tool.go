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
)

// RunTool runs a tool of the Go toolchain for a twin's build, as the -toolexec program.
// tool is the command, whose arguments it changes. rules are -trimpath rules,
// HOST=>BUILD, of which the first match wins. goroot is the GOROOT that the linked
// program should report; "" leaves it unchanged. RunTool returns the tool's exit status.
func RunTool(tool, rules []string, goroot string, env []string, stdout, stderr io.Writer) (status int, err error) {
	name := strings.TrimSuffix(filepath.Base(tool[0]), ".exe")
	versionQuery := slices.Contains(tool[1:], "-V=full")
	var version bytes.Buffer
	cmd := exec.Command(tool[0], toolArgs(name, tool[1:], rules)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr, cmd.Env = os.Stdin, stdout, stderr, env
	if versionQuery {
		cmd.Stdout = &version
	}
	if name == "link" && goroot != "" && !versionQuery {
		// The linker writes the GOROOT of its environment into the program
		// (cmd/link/internal/ld, runtime.defaultGOROOT).
		cmd.Env = append(slices.Clone(env), "GOROOT="+goroot)
	}
	if err := cmd.Run(); err != nil {
		if exit, ok := errors.AsType[*exec.ExitError](err); ok {
			return max(exit.ExitCode(), 1), nil
		}
		return 1, err
	}
	if versionQuery {
		line := version.Bytes()
		if changesOutput(name, rules, goroot) {
			line = versionLine(line, rules, goroot)
		}
		_, err = stdout.Write(line)
	}
	return 0, err
}

// changesOutput reports whether the tool's output may differ from that of an ordinary
// build. The packages of a program built with -trimpath are compiled as usual, so
// that ordinary builds and twins share the cache for them.
func changesOutput(name string, rules []string, goroot string) bool {
	return name == "link" || len(rules) > 0 || goroot != ""
}

// toolArgs returns a tool's arguments for a twin: the compiler and the assembler get
// the rules before their own -trimpath, the linker does not strip.
func toolArgs(name string, args, rules []string) []string {
	args = slices.Clone(args)
	switch name {
	case "compile", "asm":
		prefix := strings.Join(rules, ";")
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
	}
	return args
}

// versionLine adds a hash of our changes to a tool's answer to -V=full. The go command
// makes the answer part of its cache keys (cmd/go/internal/work, toolID), so that all
// twins can share one build cache.
func versionLine(line []byte, rules []string, goroot string) []byte {
	sum := sha256.Sum256([]byte(strings.Join(rules, "\x00") + "\x00" + goroot))
	return append(bytes.TrimRight(line, "\r\n"), " twin/1/"+hex.EncodeToString(sum[:8])+"\n"...)
}

// toolexecValue returns the value of -toolexec: the command with its flags, quoted as
// the go command splits it (cmd/internal/quoted).
func toolexecValue(command, rules []string, goroot string) (string, error) {
	words := slices.Clone(command)
	for _, r := range rules {
		words = append(words, "--map="+r)
	}
	if goroot != "" {
		words = append(words, "--goroot="+goroot)
	}
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
