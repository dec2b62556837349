package remote

import "strings"

// Quote returns argv as one line that a POSIX shell splits into the same words. It is
// the only place where a remote command is quoted. A NUL byte can't be part of a
// word; Start refuses it.
func Quote(argv []string) string {
	var b strings.Builder
	for i, arg := range argv {
		if i > 0 {
			b.WriteByte(' ')
		}
		if arg != "" && strings.Trim(arg, plain) == "" {
			b.WriteString(arg)
			continue
		}
		b.WriteByte('\'')
		b.WriteString(strings.ReplaceAll(arg, `'`, `'\''`))
		b.WriteByte('\'')
	}
	return b.String()
}

// plain holds the characters that have no meaning to any shell, anywhere in a word.
// '=' and '~' are not among them: a first word a=b is an assignment.
const plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./:,@+"
