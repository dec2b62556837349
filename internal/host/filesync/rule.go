package filesync

import "strings"

// rule is a line of a .gitignore file, as gitignore(5) has it and git does it:
// where the two differ, git is right.
type rule struct {
	negated  bool // what matches is copied after all
	onlyDirs bool
	baseName bool   // the last name is matched, at any depth; else the whole path
	literal  string // what the path begins with, before the first wildcard
	glob     *glob  // the rest; nil if there is none
}

// parseRules parses a file of rules.
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

// trimSpaces removes the spaces at the end of a line, up to one that stands
// behind a backslash.
func trimSpaces(line string) string {
	end := 0 // of what stays
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

// parseRule parses a line that is neither empty nor a comment. It reports false
// if nothing can match.
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
	// Of a base name git matches all by the glob, of a path the beginning
	// literally: so ** behind a literal counts as if it stood behind a slash.
	if !r.baseName {
		r.literal, line = line[:wild], line[wild:]
	}
	var ok bool
	r.glob, ok = compileGlob(line, !r.baseName)
	return r, ok
}

// match reports whether the rule concerns what stands at path, seen from the
// directory of the rule.
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

// decide returns what the last rule says that matches, if any does.
func decide(rules []rule, path string, isDir bool) (ignored, decided bool) {
	for i := len(rules) - 1; i >= 0; i-- {
		if rules[i].match(path, isDir) {
			return !rules[i].negated, true
		}
	}
	return false, false
}
