package vscode

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/tailscale/hujson"
)

// document is a parsed text with its formatting style.
type document struct {
	text    []byte
	root    hujson.Value // its offsets are into text
	eol     string       // "\n" or "\r\n"
	unit    string       // one level of indentation
	space   string       // follows a colon, and a comma within a line
	oneLine bool         // the root is not empty and all in one line
}

// splice replaces text[start:end].
type splice struct {
	start, end int
	text       string
}

type positionError struct {
	line, column int
	message      string
}

func (e *positionError) Error() string {
	return fmt.Sprintf("%d:%d: %s", e.line, e.column, e.message)
}

// ensureRoot adds an empty object to a text that is empty or has only comments.
func ensureRoot(text []byte) []byte {
	if len(bytes.TrimSpace(text)) == 0 {
		return []byte("{}\n")
	}
	if _, err := hujson.Parse(slices.Concat(text, []byte("\n{}"))); err != nil {
		return text
	}
	eol := detectEOL(text)
	text = bytes.TrimRight(text, " \t\r\n")
	return slices.Concat(text, []byte(eol+"{}"+eol))
}

func parse(text []byte) (*document, error) {
	root, err := hujson.Parse(text)
	if err != nil {
		// Unlike hujson, VS Code accepts a line comment without a newline at the
		// end of the file.
		if closed, err := hujson.Parse(slices.Concat(text, []byte("\n"))); err == nil {
			return newDocument(text, closed), nil
		}
		return nil, parseError(err)
	}
	return newDocument(text, root), nil
}

func newDocument(text []byte, root hujson.Value) *document {
	d := &document{text: text, root: root, eol: detectEOL(text), unit: "    ", space: " "}
	if kids, _ := children(&root); len(kids) > 0 {
		d.oneLine = !bytes.Contains(text[root.StartOffset:root.EndOffset], []byte("\n"))
	}
	if obj, ok := root.Value.(*hujson.Object); ok && len(obj.Members) > 0 && len(obj.Members[0].Value.BeforeExtra) == 0 {
		d.space = ""
	}
	for v := range d.root.All() {
		if kids, _ := children(v); len(kids) > 0 && kids[0].ownLine {
			inner, found := strings.CutPrefix(d.indent(kids[0].start), d.indent(v.StartOffset))
			if found && inner != "" {
				d.unit = inner
				break
			}
		}
	}
	return d
}

// parseError parses line and column from the text of hujson's error, which offers
// them in no other form.
func parseError(err error) error {
	e := &positionError{line: 1, column: 1, message: err.Error()}
	if n, _ := fmt.Sscanf(e.message, "hujson: line %d, column %d:", &e.line, &e.column); n == 2 {
		_, e.message, _ = strings.Cut(strings.TrimPrefix(e.message, "hujson: "), ": ")
	}
	// Leave out the literal, which can be long and have several lines.
	if strings.HasPrefix(e.message, "invalid literal") {
		e.message = "invalid literal"
	}
	return e
}

func (d *document) errorAt(v *hujson.Value, message string) error {
	before := d.text[:v.StartOffset]
	return &positionError{
		line:    1 + bytes.Count(before, []byte("\n")),
		column:  len(before) - bytes.LastIndexByte(before, '\n'),
		message: message,
	}
}

func (d *document) apply(edit []splice) []byte {
	var out []byte
	done := 0
	for _, s := range edit {
		out = append(out, d.text[done:s.start]...)
		out = append(out, s.text...)
		done = s.end
	}
	return append(out, d.text[done:]...)
}

// appendMember appends f to the object v.
func (d *document) appendMember(v *hujson.Value, f field) []splice {
	return d.appendChild(v, func(string) string { return d.renderMember(f) })
}

// appendElement appends an object of fields to the array v, in one line if the last
// element is.
func (d *document) appendElement(v *hujson.Value, fields []field) []splice {
	oneLine := d.oneLine
	if kids, _ := children(v); len(kids) > 0 {
		last := kids[len(kids)-1]
		oneLine = !bytes.Contains(d.text[last.start:last.end], []byte("\n"))
	}
	return d.appendChild(v, func(indent string) string {
		before, between, after := d.eol+indent+d.unit, ","+d.eol+indent+d.unit, d.eol+indent
		if oneLine {
			before, between, after = "", ","+d.space, ""
		}
		members := make([]string, len(fields))
		for i, f := range fields {
			members[i] = d.renderMember(f)
		}
		return "{" + before + strings.Join(members, between) + after + "}"
	})
}

func (d *document) renderMember(f field) string {
	return string(hujson.String(f.name)) + ":" + d.space + string(f.value)
}

// appendChild appends a child to the object or array v: in the line of the last child
// if that shares its line with what precedes it, otherwise in a line of its own. render
// gets the indentation of the line in which the child starts.
func (d *document) appendChild(v *hujson.Value, render func(indent string) string) []splice {
	closing := v.EndOffset - 1
	kids, tail := children(v)
	end := closing - len(tail) // end of the last child and its comma
	outer := d.indent(v.StartOffset)
	comma, trailing, inner := "", "", outer+d.unit
	shared := d.oneLine
	if len(kids) > 0 {
		last := kids[len(kids)-1]
		if last.comma {
			trailing = ","
		} else {
			comma = ","
		}
		if last.ownLine {
			inner = d.indent(last.start)
		} else if len(bytes.TrimSpace(tail)) == 0 {
			shared = true
		}
		if shared {
			return []splice{{end, end, comma + d.space + render(d.indent(last.start)) + trailing}}
		}
	} else if shared {
		return []splice{{end, end, render(outer)}}
	}

	line := d.eol + inner + render(inner) + trailing
	blank := len(bytes.TrimRight(tail, blanks)) // where a comment in tail ends
	switch at := end + blank + findLineBreak(tail[blank:]); {
	case at < closing:
		return []splice{{end, end, comma}, {at, at, line}}
	case len(kids) > 0:
		at = end + blank
		return []splice{{end, end, comma}, {at, at, line}}
	default:
		return []splice{{end + blank, closing, line + d.eol + outer}}
	}
}

// indent returns the leading blanks of the line that contains offset.
func (d *document) indent(offset int) string {
	line := d.text[bytes.LastIndexByte(d.text[:offset], '\n')+1 : offset]
	return string(line[:len(line)-len(bytes.TrimLeft(line, " \t"))])
}

const blanks = " \t\r\n"

// findLineBreak returns the offset of the first line break in text, or len(text).
func findLineBreak(text []byte) int {
	i := bytes.IndexByte(text, '\n')
	if i < 0 {
		return len(text)
	}
	if i > 0 && text[i-1] == '\r' {
		i--
	}
	return i
}

func detectEOL(text []byte) string {
	if i := findLineBreak(text); i < len(text) && text[i] == '\r' {
		return "\r\n"
	}
	return "\n"
}

// child is an element of an array or a member of an object.
type child struct {
	start, end int
	ownLine    bool // there is a line break between it and what precedes it
	comma      bool // a comma follows
}

// children returns the elements or members of v, and the blanks and comments between
// the last of them and the closing bracket.
func children(v *hujson.Value) (kids []child, tail hujson.Extra) {
	add := func(first, last *hujson.Value) {
		kids = append(kids, child{
			start:   first.StartOffset,
			end:     last.EndOffset,
			ownLine: bytes.IndexByte(first.BeforeExtra, '\n') >= 0,
			comma:   true,
		})
	}
	trailing := func(last *hujson.Value) {
		kids[len(kids)-1].comma = last.AfterExtra != nil // how hujson marks a trailing comma
	}
	switch v := v.Value.(type) {
	case *hujson.Object:
		for i := range v.Members {
			add(&v.Members[i].Name, &v.Members[i].Value)
		}
		if n := len(v.Members); n > 0 {
			trailing(&v.Members[n-1].Value)
		}
		tail = v.AfterExtra
	case *hujson.Array:
		for i := range v.Elements {
			add(&v.Elements[i], &v.Elements[i])
		}
		if n := len(v.Elements); n > 0 {
			trailing(&v.Elements[n-1])
		}
		tail = v.AfterExtra
	}
	return kids, tail
}
