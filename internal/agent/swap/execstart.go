package swap

import (
	"fmt"
	"strings"
)

// formatExecStart returns the settings that make a unit run another command line.
// argv[0] may differ from the program's path.
func formatExecStart(program string, argv []string) []string {
	words := []string{quoteUnit(program)}
	if argv[0] != program {
		words = []string{quoteUnit("@" + program), quoteUnit(argv[0])}
	}
	for _, a := range argv[1:] {
		words = append(words, strings.ReplaceAll(quoteUnit(a), "$", "$$"))
	}
	return []string{"ExecStart=", "ExecStart=" + strings.Join(words, " ")}
}

// quoteUnit quotes a word of a command line in a unit file: systemd.syntax(7),
// "Quoting", and systemd.unit(5), "Specifiers".
func quoteUnit(word string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, c := range []byte(word) {
		switch {
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		case c == '%':
			b.WriteString("%%")
		case c < ' ' || c == 0x7f:
			fmt.Fprintf(&b, `\x%02x`, c)
		default:
			b.WriteByte(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}
