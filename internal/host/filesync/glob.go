package filesync

import "strings"

// glob is a pattern with wildcards, in git's dialect (gitignore(5)). Matching takes time
// proportional to the length of the pattern times that of the text, whatever the
// pattern is: a repository's rules are not trusted.
type glob struct{ steps []step }

// step is an element of a glob.
type step struct {
	set  byteSet
	loop bool // any number of bytes of the set, including none; otherwise exactly one
	fork bool // matches no byte; the next two steps, ** and its slash, may be skipped
}

type byteSet [4]uint64

func (s *byteSet) add(b byte)      { s[b>>6] |= 1 << (b & 63) }
func (s *byteSet) remove(b byte)   { s[b>>6] &^= 1 << (b & 63) }
func (s *byteSet) has(b byte) bool { return s[b>>6]&(1<<(b&63)) != 0 }

// addRange adds the bytes from low to high.
func (s *byteSet) addRange(low, high byte) {
	for b := int(low); b <= int(high); b++ {
		s.add(byte(b))
	}
}

func (s *byteSet) invert() {
	for i := range s {
		s[i] = ^s[i]
	}
}

// compileGlob compiles a pattern. With forPath, only ** matches slashes. It reports
// false for a pattern that matches nothing: one with an unclosed or unknown class, or
// with a backslash at its end.
func compileGlob(pattern string, forPath bool) (*glob, bool) {
	var any byteSet
	any.invert()
	noSlash := any
	if forPath {
		noSlash.remove('/')
	}
	g := new(glob)
	for i := 0; i < len(pattern); {
		var s step
		switch pattern[i] {
		case '*':
			start := i
			for i < len(pattern) && pattern[i] == '*' {
				i++
			}
			s.set, s.loop = noSlash, true
			rest := pattern[i:]
			alone := (start == 0 || pattern[start-1] == '/') &&
				(rest == "" || rest[0] == '/' || strings.HasPrefix(rest, `\/`))
			if forPath && i-start > 1 && alone {
				s.set = any
				if strings.HasPrefix(rest, "/") {
					g.steps = append(g.steps, step{fork: true})
				}
			}
		case '?':
			s.set = noSlash
			i++
		case '[':
			var ok bool
			if s.set, i, ok = compileClass(pattern, i+1); !ok {
				return nil, false
			}
			if forPath {
				s.set.remove('/')
			}
		case '\\':
			if i++; i == len(pattern) {
				return nil, false
			}
			fallthrough
		default:
			s.set.add(pattern[i])
			i++
		}
		g.steps = append(g.steps, s)
	}
	return g, true
}

// compileClass compiles a bracket expression whose contents begin at i. end is the index
// after its closing bracket.
func compileClass(pattern string, i int) (set byteSet, end int, ok bool) {
	at := func(i int) byte { // 0 beyond the end, since no pattern holds one
		if i < len(pattern) {
			return pattern[i]
		}
		return 0
	}
	negated := at(i) == '!' || at(i) == '^'
	if negated {
		i++
	}
	var low byte // the start of a range that may follow; 0 for none
	for first := true; first || at(i) != ']'; first = false {
		switch c := at(i); {
		case c == 0:
			return set, 0, false
		case c == '-' && low != 0 && at(i+1) != 0 && at(i+1) != ']':
			i++
			if at(i) == '\\' {
				i++
			}
			if at(i) == 0 {
				return set, 0, false
			}
			set.addRange(low, at(i))
			low = 0
		case c == '[' && at(i+1) == ':':
			length := strings.IndexByte(pattern[i+2:], ']')
			if length < 0 {
				return set, 0, false
			}
			name, closed := strings.CutSuffix(pattern[i+2:i+2+length], ":")
			if !closed {
				set.add('[')
				low = '['
				break
			}
			if !addNamed(&set, name) {
				return set, 0, false
			}
			i += 2 + length
			low = 0
		default:
			if c == '\\' {
				i++
				c = at(i)
			}
			if c == 0 {
				return set, 0, false
			}
			set.add(c)
			low = c
		}
		i++
	}
	if negated {
		set.invert()
	}
	return set, i + 1, true
}

// addNamed adds the bytes of a POSIX class, which for git are ASCII.
func addNamed(set *byteSet, name string) bool {
	switch name {
	case "alnum":
		return addNamed(set, "alpha") && addNamed(set, "digit")
	case "alpha":
		return addNamed(set, "lower") && addNamed(set, "upper")
	case "blank":
		set.add(' ')
		set.add('\t')
	case "cntrl":
		set.addRange(0, 0x1f)
		set.add(0x7f)
	case "digit":
		set.addRange('0', '9')
	case "graph":
		set.addRange('!', '~')
	case "lower":
		set.addRange('a', 'z')
	case "print":
		set.addRange(' ', '~')
	case "punct":
		set.addRange('!', '/')
		set.addRange(':', '@')
		set.addRange('[', '`')
		set.addRange('{', '~')
	case "space":
		for _, b := range []byte(" \t\n\r") {
			set.add(b)
		}
	case "upper":
		set.addRange('A', 'Z')
	case "xdigit":
		set.addRange('0', '9')
		set.addRange('A', 'F')
		set.addRange('a', 'f')
	default:
		return false
	}
	return true
}

// match reports whether the glob matches all of text.
func (g *glob) match(text string) bool {
	// The steps at which the match may continue; len(g.steps) is the end.
	now, next := make([]bool, len(g.steps)+1), make([]bool, len(g.steps)+1)
	now[0] = true
	g.skip(now)
	for i := range len(text) {
		clear(next)
		alive := false
		for at, s := range g.steps {
			if !now[at] || !s.set.has(text[i]) {
				continue
			}
			alive = true
			if s.loop {
				next[at] = true
			} else {
				next[at+1] = true
			}
		}
		if !alive {
			return false
		}
		g.skip(next)
		now, next = next, now
	}
	return now[len(g.steps)]
}

// skip adds the steps that can be reached without matching a byte.
func (g *glob) skip(states []bool) {
	for at, s := range g.steps {
		if states[at] && (s.loop || s.fork) {
			states[at+1] = true
		}
		if states[at] && s.fork {
			states[at+3] = true
		}
	}
}
