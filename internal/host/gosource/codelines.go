package gosource

import (
	"bytes"
	"go/scanner"
	"go/token"
)

// CodeLines returns the lines of a Go file that hold more than white space and
// comments, a superset of the lines that the compiler generates code for. It
// reports false if it cannot know them: if a directive or cgo renumbers the lines,
// or if the text is not valid Go.
func CodeLines(text []byte) (lines map[int]bool, ok bool) {
	for _, renumbers := range []string{"//line ", "/*line ", `import "C"`} {
		if bytes.Contains(text, []byte(renumbers)) {
			return nil, false
		}
	}
	fset := token.NewFileSet()
	file := fset.AddFile("", fset.Base(), len(text))
	var s scanner.Scanner
	s.Init(file, text, nil, 0)
	lines = map[int]bool{}
	for {
		pos, tok, literal := s.Scan()
		if tok == token.EOF {
			break
		}
		if tok == token.SEMICOLON && literal == "\n" {
			continue // inserted by the scanner
		}
		first := file.Line(pos)
		last := first + bytes.Count([]byte(literal), []byte("\n")) // a raw string has several lines
		for line := first; line <= last; line++ {
			lines[line] = true
		}
	}
	return lines, s.ErrorCount == 0
}
