package twin

import (
	"bytes"
	"fmt"
	"os"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"

	"github.com/dapbridge/dapbridge/internal/host/recipe"
)

// A program contains its build information: among others the version of its module and
// the commit, which the go command knows only in a clone. The linker gets it in the file
// that -importcfg names, in a line
//
//	modinfo "MARK...TEXTMARK..."
//
// with two marks of 16 bytes (cmd/go/internal/modload, ModInfoData). Where the source is
// no clone, that line is changed to what the target records.

// stampArgs returns the linker's arguments with an -importcfg file that contains what is
// recorded. The new file is beside the go command's, which removes both.
func stampArgs(args []string, recorded recipe.Recorded) ([]string, error) {
	if len(recorded.Flags()) == 0 {
		return args, nil
	}
	at := slices.Index(args, "-importcfg")
	if at < 0 || at+1 == len(args) {
		return nil, fmt.Errorf("the linker got no -importcfg: %q", args)
	}
	text, err := os.ReadFile(args[at+1])
	if err != nil {
		return nil, err
	}
	if text, err = stampImportConfig(text, recorded); err != nil {
		return nil, fmt.Errorf("%s: %w", args[at+1], err)
	}
	args = slices.Clone(args)
	args[at+1] += ".twin"
	return args, os.WriteFile(args[at+1], text, 0o600)
}

func stampImportConfig(text []byte, recorded recipe.Recorded) ([]byte, error) {
	const mark = 16
	var out []byte
	found := false
	for line := range bytes.Lines(text) {
		quoted, ok := strings.CutPrefix(strings.TrimSpace(string(line)), "modinfo ")
		if !ok {
			out = append(out, line...)
			continue
		}
		info, err := strconv.Unquote(quoted)
		if err != nil || len(info) < 2*mark {
			return nil, fmt.Errorf("malformed build information %s", quoted)
		}
		inner, err := stampBuildInfo(info[mark:len(info)-mark], recorded)
		if err != nil {
			return nil, err
		}
		out = fmt.Appendf(out, "modinfo %q\n", info[:mark]+inner+info[len(info)-mark:])
		found = true
	}
	if !found {
		return nil, fmt.Errorf("no build information")
	}
	return out, nil
}

// stampBuildInfo puts what is recorded into a program's build information.
func stampBuildInfo(text string, recorded recipe.Recorded) (string, error) {
	info, err := debug.ParseBuildInfo(text)
	if err != nil {
		return "", err
	}
	if recorded.Version != "" {
		info.Main.Version = recorded.Version
	}
	info.Main.Sum = recorded.Sum
	for _, s := range recorded.Settings { // at the end, where Go adds them
		key, value, _ := strings.Cut(s, "=")
		info.Settings = append(info.Settings, debug.BuildSetting{Key: key, Value: value})
	}
	return info.String(), nil
}
