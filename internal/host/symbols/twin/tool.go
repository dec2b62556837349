package twin

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// Tool runs one of Go's tools as a -toolexec program does: tool is the command,
// with its arguments changed for a twin. Rules are what a compiler's -trimpath
// takes, HOST=>BUILD, the first that fits wins; goroot is what the program is
// to say of its GOROOT, nothing if that is not to change. It returns the tool's
// exit status.
func RunTool(tool, rules []string, goroot string, env []string, stdout, stderr io.Writer) (status int, err error) {
	name := strings.TrimSuffix(filepath.Base(tool[0]), ".exe")
	asks := slices.Contains(tool[1:], "-V=full")
	var said bytes.Buffer
	cmd := exec.Command(tool[0], toolArgs(name, tool[1:], rules)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr, cmd.Env = os.Stdin, stdout, stderr, env
	if asks {
		cmd.Stdout = &said
	}
	if name == "link" && goroot != "" && !asks {
		// The linker writes what its environment says (cmd/link/internal/ld,
		// runtime.defaultGOROOT).
		cmd.Env = append(slices.Clone(env), "GOROOT="+goroot)
	}
	if err := cmd.Run(); err != nil {
		if exit := (*exec.ExitError)(nil); asExit(err, &exit) {
			return max(exit.ExitCode(), 1), nil
		}
		return 1, err
	}
	if asks {
		line := said.Bytes()
		if changesOutput(name, rules, goroot) {
			line = versionLine(line, rules, goroot)
		}
		_, err = stdout.Write(line)
	}
	return 0, err
}

// changes reports whether a tool's output may differ here from what it is
// elsewhere. A program that was built with -trimpath is compiled as ever, and
// what the user's build cache holds of it serves.
func changesOutput(name string, rules []string, goroot string) bool {
	return name == "link" || len(rules) > 0 || goroot != ""
}

// toolArgs changes a tool's arguments.
func toolArgs(name string, args, rules []string) []string {
	args = slices.Clone(args)
	switch name {
	case "compile", "asm":
		prefix := strings.Join(rules, ";")
		if prefix == "" {
			return args
		}
		for i := range args {
			switch value, isOne := strings.CutPrefix(args[i], "-trimpath="); {
			case isOne:
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

// versionLine adds to a tool's answer to -V=full what is changed here: the go
// command makes it part of the key of whatever it caches (cmd/go/internal/work,
// toolID), so that one build cache serves for all twins.
func versionLine(line []byte, rules []string, goroot string) []byte {
	sum := sha256.Sum256([]byte(strings.Join(rules, "\x00") + "\x00" + goroot))
	return append(bytes.TrimRight(line, "\r\n"), " twin/1/"+hex.EncodeToString(sum[:8])+"\n"...)
}

// toolExec is the value of -toolexec: the command with its flags, as the go
// command splits it (cmd/internal/quoted).
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
			return "", buildError("%s can't be said to the go command: it holds both kinds of quotes", w)
		}
	}
	return strings.Join(words, " "), nil
}
