package pathmap

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// FuzzRewrite compares Rewrite with a slow implementation over decoded
// messages.
func FuzzRewrite(f *testing.F) {
	files, err := filepath.Glob("testdata/rewrite/*.json")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		f.Add([]byte(readVector(f, file).In))
	}
	f.Add([]byte(`{"source":{"path":"\u002fbuild/x","path":"/home/dev/containerd/..","sources":[{"path":"C:\\w\\\u0000"}]}}`))
	f.Add([]byte(`{"location":{"adapterData":{"source":{"path":"/build"}}}}]`))
	m := parseMap(f, "/home/dev/containerd=/build/containerd", "/=/build", `C:\w=/w`, "/go/src=.")
	f.Fuzz(func(t *testing.T, msg []byte) {
		checkRewrite(t, m, msg, ToNode)
		checkRewrite(t, m, msg, ToHost)
	})
}

func checkRewrite(t *testing.T, m *Map, msg []byte, dir Direction) {
	valid := json.Valid(msg) && depth(msg) <= maxDepth
	end := SkipValue(msg, 0)
	if scanned := end >= 0 && len(bytes.Trim(msg[end:], " \t\r\n")) == 0; scanned != valid {
		t.Fatalf("SkipValue says %v, encoding/json %v", scanned, valid)
	}
	before := bytes.Clone(msg)
	out, changed := m.Rewrite(nil, msg, dir)
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
	if !valid || bytes.Contains(bytes.ToLower(msg), []byte(`\ud`)) {
		return // encoding/json takes half a surrogate pair for text
	}
	translate := m.ToNode
	if dir == ToHost {
		translate = m.ToHost
	}
	want := mapDecoded(decode(t, msg), plain, translate)
	if got := decode(t, out); !reflect.DeepEqual(got, want) {
		t.Fatalf("%s became\n%s, want\n%v", msg, out, want)
	}
}

func decode(t *testing.T, msg []byte) any {
	d := json.NewDecoder(bytes.NewReader(msg))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%s: %v", msg, err)
	}
	return v
}

// mapDecoded is what Rewrite does, on a decoded message.
func mapDecoded(v any, r role, translate func(string) (string, bool)) any {
	switch v := v.(type) {
	case map[string]any:
		for name, member := range v {
			if r == source && name == "adapterData" {
				continue
			}
			v[name] = mapDecoded(member, roleOf(name, r), translate)
		}
	case []any:
		for i, element := range v {
			inner := plain
			if r == sources {
				inner = source
			}
			v[i] = mapDecoded(element, inner, translate)
		}
	case string:
		if r == pathname {
			mapped, _ := translate(v)
			return mapped
		}
	}
	return v
}

func roleOf(name string, of role) role {
	switch {
	case name == "source" || name == "location":
		return source
	case name == "sources":
		return sources
	case name == "path" && of == source:
		return pathname
	}
	return plain
}

// depth returns how deep a valid message nests.
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
