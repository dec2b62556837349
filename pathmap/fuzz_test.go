package pathmap

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"
)

// FuzzRewrite compares a Rewriter with a slow implementation over decoded
// messages, for a client of each kind.
func FuzzRewrite(f *testing.F) {
	files, err := filepath.Glob("testdata/rewrite/*.json")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		f.Add([]byte(readVector(f, file).In), false, false)
	}
	f.Add([]byte(`{"source":{"path":"\u002fbuild/x","path":"/home/dev/containerd/..","sources":[{"path":"C:\\w\\\u0000"}]}}`), false, false)
	f.Add([]byte(`{"location":{"adapterData":{"source":{"path":"/build"}}}}]`), false, false)
	f.Add([]byte(`{"source":{"path":"file:///c%3A/w/a%20b.go"},"line":0,"lines":[-1,2147483647,1.0],"endColumn":7}`), true, true)
	f.Add([]byte(`{"output":"at /build/containerd/a b.go:3, (/build/x.s) fmt/print.go.\n","targets":[{"start":1}]}`), true, false)
	f.Add([]byte(`{"sources":[{"path":"0000000000000","path":null},{"path":"/build/a/x.go"},{"path":"/build/a/y.go"}]}`), false, false)
	f.Add([]byte(`{"output":"/build/a/x.go\n/build/a/y.go\n/build/a/../y.go\n/build/a/y@v1.go a\n/build/a/z.go:3"}`), false, false)
	m := parseMap(f, "/home/dev/containerd=/build/containerd", "/=/build", `C:\w=/w`, "/go/src=.")
	f.Fuzz(func(t *testing.T, msg []byte, url, from0 bool) {
		r := &Rewriter{Map: m, Client: Client{URI: url, Lines0: from0, Columns0: from0}, Missing: &MissingFiles{Find: findMissing}}
		checkRewrite(t, r, msg, ToNode)
		checkRewrite(t, r, msg, ToHost)
		identity := &Rewriter{}
		if out, changed := identity.ToHost(nil, msg, false); changed != 0 || !bytes.Equal(out, msg) {
			t.Fatalf("without rules %s became %s", msg, out)
		}
	})
}

func checkRewrite(t *testing.T, r *Rewriter, msg []byte, dir Direction) {
	valid := json.Valid(msg) && depth(msg) <= maxDepth
	end := SkipValue(msg, 0)
	if scanned := end >= 0 && len(bytes.Trim(msg[end:], " \t\r\n")) == 0; scanned != valid {
		t.Fatalf("SkipValue says %v, encoding/json %v", scanned, valid)
	}
	before := bytes.Clone(msg)
	out, changed := r.rewrite(nil, msg, dir, plain, false)
	var e Edits
	if dir == ToHost && r.Scan(&e, msg, ignoreMember) == nil && !bytes.Equal(e.Apply(nil, msg), out) {
		t.Fatalf("%s becomes %s, and by its edits %s", msg, out, e.Apply(nil, msg))
	}
	if !bytes.Equal(msg, before) {
		t.Fatal("the message was written to")
	}
	if changed == 0 {
		if !bytes.Equal(out, msg) {
			t.Fatalf("no path changed, and %s became %s", msg, out)
		}
	} else if !valid {
		t.Fatalf("%d paths changed in a malformed message", changed)
	}
	if !valid || !utf8.Valid(msg) || bytes.Contains(bytes.ToLower(msg), []byte(`\ud`)) {
		return // encoding/json accepts unpaired surrogates and invalid UTF-8 as text
	}
	want := decodedRewriter{r, dir}.value(decodeJSON(t, msg), plain)
	got := decodedRewriter{&Rewriter{}, dir}.value(decodeJSON(t, out), plain)
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("%s became\n%s, want\n%v", msg, out, want)
	}
}

func decodeJSON(t *testing.T, msg []byte) any {
	d := json.NewDecoder(bytes.NewReader(msg))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%s: %v", msg, err)
	}
	return v
}

// decodedRewriter does what a Rewriter does, on decoded messages, but empties text for
// the user, which FuzzProse checks.
type decodedRewriter struct {
	*Rewriter
	dir Direction
}

func (d decodedRewriter) value(v any, r role) any {
	switch v := v.(type) {
	case map[string]any:
		path, _ := v["path"].(string)
		for name, member := range v {
			if r == source && name == "adapterData" {
				continue
			}
			v[name] = d.value(member, roleOf(name, r))
		}
		if r == source && d.dir == ToHost {
			d.addReference(v, path)
		}
	case []any:
		for i, element := range v {
			v[i] = d.value(element, roleOfElement(r))
		}
	case string:
		switch r {
		case pathname, sourceFile:
			return d.path(v)
		case prose, result:
			return ""
		}
	case json.Number:
		n, err := strconv.ParseInt(string(v), 10, 32)
		if err != nil || n < 0 || r == line && !d.Client.Lines0 || r == column && !d.Client.Columns0 || r != line && r != column {
			return v
		}
		if d.dir == ToNode {
			return json.Number(strconv.FormatInt(n+1, 10))
		}
		if n > 0 { // -0 is not changed
			return json.Number(strconv.FormatInt(n-1, 10))
		}
	}
	return v
}

// findMissing reports some files as missing on the host.
func findMissing(host, node string) Place { return Place{Reference: max(len(node)%7-4, 0)} }

// addReference adds a reference to source if the host lacks its file, whose node path is
// node.
func (d decodedRewriter) addReference(source map[string]any, node string) {
	if d.Missing == nil || node == "" || node[0] == '<' || len(node) > maxPath {
		return
	}
	host, _ := d.translate(node)
	at := findMissing(host, node).Reference
	if _, has := source["sourceReference"]; at == 0 || has {
		return
	}
	source["sourceReference"] = json.Number(strconv.Itoa(at))
	for name, value := range map[string]string{"origin": "from the node", "presentationHint": "normal"} {
		if _, has := source[name]; !has {
			source[name] = value
		}
	}
}

func (d decodedRewriter) translate(p string) (string, bool) {
	if d.dir == ToNode {
		return d.Map.ToNode(p)
	}
	return d.Map.ToHost(p)
}

func (d decodedRewriter) path(p string) string {
	if p == "" || len(p) > maxPath {
		return p
	}
	if d.Client.URI && d.dir == ToNode {
		if file, ok := urlPath(nil, []byte(p)); ok {
			p = string(file)
		}
	}
	p, _ = d.translate(p)
	if d.Client.URI && d.dir == ToHost {
		p = string(fileURL(nil, []byte(p)))
	}
	return p
}

// FuzzProse compares the mapping of text for the user with a slow implementation that
// works on the text itself, whatever escapes it needs in JSON.
func FuzzProse(f *testing.F) {
	for _, text := range []string{
		"/build/containerd/main.go:12\n\tat \"/build/x.s\", (/build/a b/c.go) fmt/print.go.", "/build/a.go.bak /build//a.go",
		"see /a/b /build/c.go; x=/build/ü/<a>.go! /build/back\\slash.go", "runtime/proc.go:1 main.go .go /build/.s a.go/b.go",
		"/build/a/x.go\n/build/a/y.go\n/build/a b/y.go\n/build/a b/z.go\n\\/build/a b/w.go", "fmt/print.go\nfmt/scan.go\tfmt/format.go\n/usr/x/a.go\n/usr/x/b.go",
	} {
		f.Add(text)
	}
	m := parseMap(f, "/home/dev/containerd=/build/containerd", "/w=/build", "/go/src=.")
	f.Fuzz(func(t *testing.T, text string) {
		if !utf8.ValidString(text) {
			return
		}
		var raw bytes.Buffer
		e := json.NewEncoder(&raw)
		e.SetEscapeHTML(false)
		if err := e.Encode(map[string]string{"output": text}); err != nil {
			t.Fatal(err)
		}
		out, _ := m.Rewrite(nil, raw.Bytes(), ToHost)
		var got struct{ Output string }
		if err := json.Unmarshal(out, &got); err != nil {
			t.Fatal(err)
		}
		if want := mapText(m, text); got.Output != want {
			t.Fatalf("%q became\n%q, want\n%q", text, got.Output, want)
		}
	})
}

// mapText maps the paths of files in text like mapProse.
func mapText(m *Map, text string) string {
	const lineBreaks = "\n\t\r\""
	var (
		file = regexp.MustCompile(`\.(go|s)$`)
		ends = regexp.MustCompile("^($|\\.($|[ " + lineBreaks + "])|[] :,;!?)}>'`|" + lineBreaks + "])")
		out  strings.Builder
		done int
	)
	for end := range len(text) + 1 {
		if !file.MatchString(text[:end]) || !ends.MatchString(text[end:]) {
			continue
		}
		word, slash := -1, -1
		for i := end - 1; i >= max(done, end-maxPath) && slash < 0; i-- {
			first := i == 0 || strings.IndexByte(lineBreaks, text[i-1]) >= 0 || i >= 2 && text[i-1] == ' ' && strings.IndexByte(",;:", text[i-2]) >= 0
			if !first && strings.IndexByte(" ([{<=,;'`|", text[i-1]) < 0 {
				continue
			}
			if word < 0 {
				word = i
			}
			if text[i] == '/' {
				slash = i
			}
			if first {
				break
			}
		}
		for _, start := range []int{slash, word} {
			if start < 0 {
				continue
			}
			if mapped, ok := m.ToHost(text[start:end]); ok {
				out.WriteString(text[done:start] + mapped)
				done = end
				break
			}
		}
		if done < end {
			out.WriteString(text[done:end])
			done = end
		}
	}
	return out.String() + text[done:]
}

// roleOf returns the role of a member of an object whose role is of.
func roleOf(name string, of role) role { return (&walker{}).roleInDAP(of, []byte(name)) }

// depth returns how deeply a valid message nests.
func depth(msg []byte) (deepest int) {
	d, level := json.NewDecoder(bytes.NewReader(msg)), 0
	for {
		token, err := d.Token()
		if err != nil {
			return deepest
		}
		if delim, ok := token.(json.Delim); ok {
			if strings.ContainsRune("[{", rune(delim)) {
				level++
			} else {
				level--
			}
		}
		deepest = max(deepest, level)
	}
}

// FuzzInfer gives Infer names and versions that a hostile node or workspace might claim.
// It must not panic, must account for every file, and must make only rules that New
// accepts.
func FuzzInfer(f *testing.F) {
	files, err := filepath.Glob("testdata/infer/*.json")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var v inferVector
		if json.Unmarshal(data, &v) != nil {
			return
		}
		for dir, names := range v.Target.Dirs {
			if len(names) == 0 {
				delete(v.Target.Dirs, dir)
			}
		}
		in := Infer(v.target(), v.host())
		n := 0
		for _, found := range in.Findings {
			n += found.Files
			if found.OnHost > found.Files {
				t.Errorf("%s: %d of %d files", found, found.OnHost, found.Files)
			}
		}
		for _, d := range in.Unassigned {
			n += len(d.Files)
		}
		if want := len(v.target().Names()); n != want {
			t.Errorf("%d of %d files are accounted for", n, want)
		}
		for _, r := range in.Map.Rules() {
			if r.Host == "" || r.Node == "" || r.Reason == "" {
				t.Errorf("a rule without a part: %+v", r)
			}
			if _, err := checkRule(r); err != nil {
				t.Errorf("a rule that New refuses: %v", err)
			}
		}
	})
}
