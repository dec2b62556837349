package filesync

import (
	"strconv"
	"strings"

	"github.com/dapbridge/dapbridge/internal/api/frame"
)

// isNeverCopied reports whether an entry called name is left out whatever the rules say:
// git's own data, which is large, changes often and is useless on a node, and the
// temporary files of editors and of the receiver. Those of editors are never directories.
func isNeverCopied(name string, isDir bool) bool {
	switch {
	case name == ".git":
		return true
	case strings.HasPrefix(name, frame.TemporaryPrefix):
		return true
	case isDir:
		return false
	case strings.HasSuffix(name, "___jb_tmp___"), strings.HasSuffix(name, "___jb_old___"): // JetBrains, safe write
		return true
	case strings.HasSuffix(name, ".vsctmp"): // VS Code, atomic save
		return true
	case strings.HasPrefix(name, ".goutputstream-"): // GLib: gedit and others
		return true
	case strings.HasPrefix(name, ".#"): // Emacs, lock
		return true
	case len(name) > 2 && strings.HasPrefix(name, "#") && strings.HasSuffix(name, "#"): // Emacs, auto-save
		return true
	case len(name) > 1 && strings.HasSuffix(name, "~"): // Vim's and Emacs's backup
		return true
	}
	return isVimSwap(name) || isVimProbe(name)
}

// isVimSwap reports whether name is that of a Vim swap file: .NAME.swp, .NAME.swo and so
// on.
func isVimSwap(name string) bool {
	if len(name) < len(".swp") || name[0] != '.' {
		return false
	}
	suffix := name[len(name)-len(".swp"):]
	return strings.HasPrefix(suffix, ".sw") && suffix[3] >= 'a' && suffix[3] <= 'z'
}

// isVimProbe reports whether name is that of the file with which Vim finds out whether it
// can create files in a directory: 4913, plus 123 for each one that exists already.
func isVimProbe(name string) bool {
	n, err := strconv.Atoi(name)
	return err == nil && n >= 4913 && n <= 4913+9*123 && (n-4913)%123 == 0 && strconv.Itoa(n) == name
}
