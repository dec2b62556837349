package filesync

import "strings"

// rule is a line of a .gitignore file, as described in gitignore(5). Where git itself
// differs from that, the rule does what git does.
type rule struct {
	negated  bool // what matches is not ignored after all
	onlyDirs bool
	baseName bool   // matches the base name, at any depth; otherwise the path relative to the rule's directory
	literal  string // the pattern before the first wildcard
	glob     *glob  // the rest; nil if there is none
}

// parseRules parses the text of an ignore file.
func parseRules(text string) []rule {
	var rules []rule
	for line := range strings.SplitSeq(strings.TrimPrefix(text, "\ufeff"), "\n") {
		if line == "" || line[0] == '#' {
			continue
		}
		if r, ok := parseRule(trimSpaces(strings.TrimSuffix(line, "\r"))); ok {
			rules = append(rules, r)
		}
	}
	return rules
}

// trimSpaces removes trailing spaces, up to one that follows a backslash.
func trimSpaces(line string) string {
	end := 0 // of the result
	for i := 0; i < len(line); i++ {
		switch line[i] {
		case ' ':
			continue
		case '\\':
			i++
		}
		end = i + 1
	}
	return line[:min(end, len(line))]
}

// parseRule parses a line that is neither empty nor a comment. It reports false if
// nothing can match the rule.
func parseRule(line string) (rule, bool) {
	var r rule
	line, r.negated = strings.CutPrefix(line, "!")
	line, r.onlyDirs = strings.CutSuffix(line, "/")
	r.baseName = !strings.Contains(line, "/")
	line = strings.TrimPrefix(line, "/")
	if line == "" {
		return rule{}, false
	}
	wild := strings.IndexAny(line, `*?[\`)
	if wild < 0 {
		r.literal = line
		return r, true
	}
	// For a base name, git matches the whole pattern as a glob. For a path, it compares the
	// literal prefix first, so a following ** counts as if it came after a slash.
	if !r.baseName {
		r.literal, line = line[:wild], line[wild:]
	}
	var ok bool
	r.glob, ok = compileGlob(line, !r.baseName)
	return r, ok
}

// match reports whether the rule matches a path relative to the directory of the rule.
func (r *rule) match(path string, isDir bool) bool {
	if r.onlyDirs && !isDir {
		return false
	}
	if r.baseName {
		path = path[strings.LastIndexByte(path, '/')+1:]
	}
	rest, ok := strings.CutPrefix(path, r.literal)
	if !ok {
		return false
	}
	if r.glob == nil {
		return rest == ""
	}
	return r.glob.match(rest)
}

// decide applies the last rule that matches, if any does.
func decide(rules []rule, path string, isDir bool) (ignored, decided bool) {
	for i := len(rules) - 1; i >= 0; i-- {
		if rules[i].match(path, isDir) {
			return !rules[i].negated, true
		}
	}
	return false, false
}
