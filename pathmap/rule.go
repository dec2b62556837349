package pathmap

import (
	"errors"
	"fmt"
	"path"
	"strings"
)

// ParseRule parses HOST=NODE, the argument of --map. HOST may contain a '=' if only one
// way to split leaves valid paths on both sides.
func ParseRule(s string) (Rule, error) {
	if !strings.Contains(s, "=") {
		return Rule{}, fmt.Errorf("map %q: want HOST=NODE, such as /home/me/containerd=/build/containerd", s)
	}
	host, node, ok := splitRule(s, func(node string) bool { return isAbsolute([]byte(node)) })
	if !ok {
		host, node, ok = splitRule(s, func(node string) bool { return !strings.Contains(node, "=") })
	}
	if !ok {
		host, node, _ = strings.Cut(s, "=")
	}
	r, err := checkRule(Rule{Host: host, Node: node, Reason: "--map"})
	if err != nil {
		return Rule{}, fmt.Errorf("map %q: %w", s, err)
	}
	return r, nil
}

// splitRule splits s at the first '=' that follows an absolute path and precedes a
// valid node path.
func splitRule(s string, isValid func(node string) bool) (host, node string, ok bool) {
	for i := range len(s) {
		if s[i] == '=' && isAbsolute([]byte(s[:i])) && isValid(s[i+1:]) {
			return s[:i], s[i+1:], true
		}
	}
	return "", "", false
}

// checkRule returns r with clean paths, or an error if they are invalid.
func checkRule(r Rule) (Rule, error) {
	switch {
	case r.Host == "":
		return r, errors.New("the host path is empty")
	case strings.HasPrefix(r.Host, "~"):
		return r, fmt.Errorf("the host path %s is not absolute: replace ~ by the home directory", r.Host)
	case !isAbsolute([]byte(r.Host)):
		return r, fmt.Errorf("the host path %s is not absolute", r.Host)
	case r.Node == "":
		return r, errors.New("the node path is empty")
	case strings.HasPrefix(r.Node, "~"):
		return r, fmt.Errorf("the node path %s is not absolute: replace ~ by the home directory", r.Node)
	}
	r.Host, r.Node = cleanRulePath(r.Host), cleanRulePath(r.Node)
	if r.Node == ".." || strings.HasPrefix(r.Node, "../") {
		return r, fmt.Errorf("the node path %s is neither absolute nor a module path", r.Node)
	}
	if sep := newEntry(r.Node, r).sep; sep == '\\' {
		r.Node = strings.ReplaceAll(r.Node, `\`, "/")
	}
	return r, nil
}

// cleanRulePath cleans p, and keeps its separators and the case of its drive letter.
func cleanRulePath(p string) string {
	if !isWindows([]byte(p)) {
		return path.Clean(p)
	}
	s := string(normalize([]byte(p)))
	if s[0] != '/' {
		s = p[:1] + s[1:]
	}
	if len(s) == len("C:") {
		s += "/"
	}
	if strings.Contains(p, `\`) {
		s = strings.ReplaceAll(s, "/", `\`)
	}
	return s
}
