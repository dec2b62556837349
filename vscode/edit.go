package vscode

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/tailscale/hujson"
)

// document is a parsed text with the habits of the person who wrote it.
type document struct {
	text    []byte
	root    hujson.Value // its offsets are into text
	eol     string       // "\n" or "\r\n"
	unit    string       // one level of indentation
	space   string       // what follows a colon, and a comma within a line
	oneLine bool         // there is something in it, all in one line
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

// withRoot gives a text that holds nothing, or nothing but comments, an empty
// object.
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
		// Unlike hujson, VS Code takes a line comment that ends with the file.
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

// parseError takes line and column out of hujson's text, where alone they
// stand.
func parseError(err error) error {
	e := &positionError{line: 1, column: 1, message: err.Error()}
	if n, _ := fmt.Sscanf(e.message, "hujson: line %d, column %d:", &e.line, &e.column); n == 2 {
		_, e.message, _ = strings.Cut(strings.TrimPrefix(e.message, "hujson: "), ": ")
	}
	// The literal itself can be long and have several lines.
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

// appendMember adds f at the end of the object v.
func (d *document) appendMember(v *hujson.Value, f field) []splice {
	return d.appendChild(v, func(string) string { return d.renderMember(f) })
}

// appendElement adds an object of fields at the end of the array v, in one
// line when its last element is.
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

// appendChild adds a child at the end of the object or array v: in the line of
// the last child when that shares its line with what precedes it, else in a
// line of its own. render is told the indentation of the line it starts in.
func (d *document) appendChild(v *hujson.Value, render func(indent string) string) []splice {
	closing := v.EndOffset - 1
	kids, tail := children(v)
	end := closing - len(tail) // of the last child and its comma
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
	blank := len(bytes.TrimRight(tail, blanks)) // a comment before it may end with its first line
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

// indent returns the blanks that the line of offset begins with.
func (d *document) indent(offset int) string {
	line := d.text[bytes.LastIndexByte(d.text[:offset], '\n')+1 : offset]
	return string(line[:len(line)-len(bytes.TrimLeft(line, " \t"))])
}

const blanks = " \t\r\n"

// lineBreak returns the offset of the first line's end in text, or len(text).
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

// child is an element of an array, or a member of an object.
type child struct {
	start, end int
	ownLine    bool // a line begins somewhere between it and what precedes it
	comma      bool // one follows
}

// children returns what v holds, and the blanks and comments between that and
// the closing bracket.
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
		kids[len(kids)-1].comma = last.AfterExtra != nil // hujson's sign of a trailing comma
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
