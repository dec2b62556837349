package gosource

import (
	"bytes"
	"go/scanner"
	"go/token"
)

// CodeLines returns the lines of a Go file that hold more than white space and
// comments: all those that the compiler can make code of. It reports false for
// what can't be told of: a file whose code another file or a directive numbers,
// and one that is no Go.
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
			continue // there is none in the file
		}
		first := file.Line(pos)
		last := first + bytes.Count([]byte(literal), []byte("\n")) // of a raw string
		for line := first; line <= last; line++ {
			lines[line] = true
		}
	}
	return lines, s.ErrorCount == 0
}
