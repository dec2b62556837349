package pathmap

import (
	"strings"
	"testing"
	"time"
)

// TestClients rewrites messages for each kind of client.
func TestClients(t *testing.T) {
	m := parseMap(t, "/home/me/a b=/build/x", `C:\go=/go`, "/home/ü=.")
	zero := Client{Lines0: true, Columns0: true}
	url := Client{URI: true}
	for _, c := range []struct {
		about      string
		client     Client
		host, node string
		oneWay     bool // ToNode only
	}{
		{"0-based", zero, `{"arguments":{"source":{"path":"/home/me/a b/c.go"},"breakpoints":[{"line":0,"column":4}],"lines":[0,11]}}`,
			`{"arguments":{"source":{"path":"/build/x/c.go"},"breakpoints":[{"line":1,"column":5}],"lines":[1,12]}}`, false},
		{"evaluate in a source (1.67)", zero, `{"command":"evaluate","arguments":{"expression":"x","source":{"path":"/home/me/a b/c.go"},"line":9,"column":0}}`,
			`{"command":"evaluate","arguments":{"expression":"x","source":{"path":"/build/x/c.go"},"line":10,"column":1}}`, false},
		{"locations (1.68)", zero, `{"command":"locations","body":{"source":{"path":"/home/me/a b/c.go"},"line":9,"column":0,"endLine":10,"endColumn":2}}`,
			`{"command":"locations","body":{"source":{"path":"/build/x/c.go"},"line":10,"column":1,"endLine":11,"endColumn":3}}`, false},
		{"lines alone", Client{Lines0: true}, `{"line":1,"column":1}`, `{"line":2,"column":1}`, false},
		{"columns alone", Client{Columns0: true}, `{"line":1,"column":1}`, `{"line":1,"column":2}`, false},
		{"no number of a line's", zero, `{"format":{"line":true},"line":"1","line":1.5,"line":-1,"line":99999999999}`, `{"format":{"line":true},"line":"1","line":1.5,"line":-1,"line":99999999999}`, false},
		{"a URL", url, `{"source":{"path":"file:///home/me/a%20b/%C3%A4%25.go"}}`, `{"source":{"path":"/build/x/ä%.go"}}`, false},
		{"a URL of a drive", url, `{"source":{"path":"file:///C%3A/go/src/fmt/print.go"}}`, `{"source":{"path":"/go/src/fmt/print.go"}}`, false},
		{"a drive as VS Code writes it", url, `{"source":{"path":"file:///c%3A/go/x.go"}}`, `{"source":{"path":"/go/x.go"}}`, true},
		{"a drive as others do", url, `{"source":{"path":"file:///c:/go/x.go"}}`, `{"source":{"path":"/go/x.go"}}`, true},
		{"localhost", url, `{"source":{"path":"FILE://localhost/home/me/a%20b/x.go"}}`, `{"source":{"path":"/build/x/x.go"}}`, true},
		{"one slash", url, `{"source":{"path":"file:/home/me/a%20b/x.go"}}`, `{"source":{"path":"/build/x/x.go"}}`, true},
		{"escapes in JSON", url, `{"source":{"path":"file:\/\/\/home\/me\/a\u0020b\/x.go"}}`, `{"source":{"path":"/build/x/x.go"}}`, true},
		{"no rule", url, `{"source":{"path":"file:///opt/%3F.go"}}`, `{"source":{"path":"/opt/?.go"}}`, false},
		{"a server", url, `{"source":{"path":"file://server/share/x.go"}}`, `{"source":{"path":"\\\\server\\share\\x.go"}}`, false},
		{"-trimpath", url, `{"source":{"path":"file:///home/%C3%BC/fmt/print.go"}}`, `{"source":{"path":"fmt/print.go"}}`, false},
		{"another scheme", url, `{"source":{"path":"untitled:Untitled-1"}}`, `{"source":{"path":"untitled:Untitled-1"}}`, false},
		{"a bad escape", url, `{"source":{"path":"file:///a%2"}}`, `{"source":{"path":"file:///a%2"}}`, true},
		{"NUL", url, `{"source":{"path":"file:///a%00"}}`, `{"source":{"path":"file:///a%00"}}`, true},
		{"a module", url, `{"module":{"path":"file:///home/me/a%20b/bin/x","symbolFilePath":"file:///home/me/a%20b/x.debug"}}`, `{"module":{"path":"/build/x/bin/x","symbolFilePath":"/build/x/x.debug"}}`, false},
	} {
		r := &Rewriter{Map: m, Client: c.client}
		if got, _ := r.ToNode(nil, []byte(c.host)); string(got) != c.node {
			t.Errorf("%s, to the node:\n got %s\nwant %s", c.about, got, c.node)
		}
		if got, _ := r.ToHost(nil, []byte(c.node), false); !c.oneWay && string(got) != c.host {
			t.Errorf("%s, to the host:\n got %s\nwant %s", c.about, got, c.host)
		}
	}
}

func TestAnUnknownColumnStays(t *testing.T) {
	const msg = `{"stackFrames":[{"line":0,"column":0}]}`
	r := &Rewriter{Client: Client{Lines0: true, Columns0: true}}
	if out, changed := r.ToHost(nil, []byte(msg), false); changed != 0 || string(out) != msg {
		t.Errorf("got %s", out)
	}
}

func TestValuesStay(t *testing.T) {
	const msg = `{"command":"evaluate","body":{"result":"\"/node/a.go\""}}`
	r := &Rewriter{Map: parseMap(t, "/host=/node")}
	if out, changed := r.ToHost(nil, []byte(msg), true); changed != 0 || string(out) != msg {
		t.Errorf("a value of the target's becomes %s", out)
	}
	if out, changed := r.ToHost(nil, []byte(msg), false); changed != 1 || string(out) != strings.Replace(msg, "/node", "/host", 1) {
		t.Errorf("Delve's own text becomes %s", out)
	}
}

func TestProse(t *testing.T) {
	m := parseMap(t, "/home/me/ctrd=/build/containerd", "/home/me/mod=example.com/mod@v1.2.3")
	for node, host := range map[string]string{
		`/build/containerd/a.go\n/build/containerd/b_amd64.s\n/usr/x.go`:          `/home/me/ctrd/a.go\n/home/me/ctrd/b_amd64.s\n/usr/x.go`,
		`0  0x4a in main.main\n    at /build/containerd/a.go:12\n`:                `0  0x4a in main.main\n    at /home/me/ctrd/a.go:12\n`,
		`goroutine 1:\nmain.main()\n\t/build/containerd/a.go:12 +0x1d`:            `goroutine 1:\nmain.main()\n\t/home/me/ctrd/a.go:12 +0x1d`,
		`could not find file /build/containerd/a.go`:                              `could not find file /home/me/ctrd/a.go`,
		`(/build/containerd/a.go), see \"/build/containerd/b.go\".`:               `(/home/me/ctrd/a.go), see \"/home/me/ctrd/b.go\".`,
		`in /build/containerd/a b (c)/d.go: x`:                                    `in /home/me/ctrd/a b (c)/d.go: x`,
		`example.com/mod@v1.2.3/x.go:3 and example.com/mod@v1.2.4/x.go:3`:         `/home/me/mod/x.go:3 and example.com/mod@v1.2.4/x.go:3`,
		`/build/containerd, /build/containerd/a.go.orig, x/build/containerd/a.go`: `/build/containerd, /build/containerd/a.go.orig, x/build/containerd/a.go`,
		`/build/containerdx/a.go /build/containerd/a.gob`:                         `/build/containerdx/a.go /build/containerd/a.gob`,
		`/build/containerd/a\u0026b.go`:                                           `/home/me/ctrd/a&b.go`,
		`C:\\build\n/build/containerd/a.go`:                                       `C:\\build\n/home/me/ctrd/a.go`,
		`/usr/lib is no file, runtime/a.go is, and /build/containerd/a.go`:        `/usr/lib is no file, runtime/a.go is, and /home/me/ctrd/a.go`,
	} {
		got, _ := m.Rewrite(nil, []byte(`{"output":"`+node+`"}`), ToHost)
		if want := `{"output":"` + host + `"}`; string(got) != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

// TestHostileProse checks that text of near-paths, or of nothing but paths, is rewritten
// correctly and in time that is linear in its length.
func TestHostileProse(t *testing.T) {
	const length, factor = 1 << 16, 16
	m := parseMap(t, "/home=/build", "/go=.")
	for _, part := range []string{".go", "a.go ", "/a.go ", "/", " /", ". ", `\\\\`, `\"`, "(/x.go", "a/b.s "} {
		t.Run(part, func(t *testing.T) {
			want := part
			if part == "a/b.s " {
				want = "/go/a/b.s "
			}
			rewrite := func(length int) time.Duration {
				n := length / len(part)
				msg := []byte(`{"output":"` + strings.Repeat(part, n) + `"}`)
				start := time.Now()
				got, _ := m.Rewrite(nil, msg, ToHost)
				took := time.Since(start)
				if string(got) != `{"output":"`+strings.Repeat(want, n)+`"}` {
					t.Fatalf("%d times %q becomes %.200s…, want %q each time", n, part, got, want)
				}
				return took
			}
			// Linear time is a factor of 16, quadratic time one of 256. The fastest of up
			// to 30 runs counts, since other programs run at the same time.
			small, large := time.Hour, time.Hour
			for range 30 {
				small, large = min(small, rewrite(length)), min(large, rewrite(factor*length))
				if large < 4*factor*small {
					return
				}
			}
			t.Errorf("%d bytes take %s, and %d bytes %s", length, small, factor*length, large)
		})
	}
}

func TestAbsentFiles(t *testing.T) {
	const msg = `{"stackFrames":[{"source":{"name":"a.go","path":"/node/a.go"}},{"source":{"path":"/node/b.go"},"line":1},{"source":{"path":"/usr/c.go","origin":"x","presentationHint":"emphasize","sources":[{"path":"/node/a.go"}]}},{"source":{"path":"/node/a.go","sourceReference":7}},{"source":{"path":"<autogenerated>"}},{"source":{}}],"module":{"path":"/node/a.go"}}`
	const want = `{"stackFrames":[{"source":{"name":"a.go","path":"/host/a.go","sourceReference":100,"origin":"from the node","presentationHint":"normal"}},{"source":{"path":"/host/b.go"},"line":1},{"source":{"path":"/usr/c.go","origin":"x","presentationHint":"emphasize","sources":[{"path":"/host/a.go","sourceReference":100,"origin":"from the node","presentationHint":"normal"}],"sourceReference":101}},{"source":{"path":"/host/a.go","sourceReference":7}},{"source":{"path":"<autogenerated>"}},{"source":{}}],"module":{"path":"/host/a.go"}}`
	refs := map[string]int{"/host/a.go /node/a.go": 100, "/usr/c.go /usr/c.go": 101}
	finds := map[string]int{}
	missing := &MissingFiles{Find: func(host, node string) Place {
		finds[node]++
		return Place{Reference: refs[host+" "+node]}
	}}
	r := &Rewriter{Map: parseMap(t, "/host=/node"), Missing: missing}
	for range 3 {
		if got, _ := r.ToHost(nil, []byte(msg), false); string(got) != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
	if len(finds) != 3 || finds["/node/a.go"] != 1 {
		t.Errorf("looked up %v", finds)
	}
	missing.Forget()
	r.ToHost(nil, []byte(msg), false)
	if finds["/node/a.go"] != 2 {
		t.Errorf("after Forget looked up %v", finds)
	}
	if out, changed := r.ToNode(nil, []byte(msg)); changed != 0 {
		t.Errorf("to the node: %s", out)
	}
}

func TestAbsentFilesRPC(t *testing.T) {
	r := &Rewriter{Map: parseMap(t, "/host=/node"), Missing: &MissingFiles{Find: func(host, node string) Place {
		if host == "/host/a.go" {
			return Place{Path: "/cache/a.go"}
		}
		return Place{}
	}}}
	const msg = `{"result":{"Locations":[{"file":"/node/a.go"},{"file":"/node/b.go"}],"Sources":["/node/a.go"]}}`
	const want = `{"result":{"Locations":[{"file":"/cache/a.go"},{"file":"/host/b.go"}],"Sources":["/host/a.go"]}}`
	if got, _ := r.RPCToHost(nil, []byte(msg)); string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestRewriterAllocatesNothingForNothing(t *testing.T) {
	r := &Rewriter{Map: parseMap(t, "/h=/n"), Client: Client{Lines0: true}, Missing: &MissingFiles{Find: func(host, node string) Place { return Place{} }}}
	msg := []byte(`{"column":3,"source":{"path":"/x/y.go"},"sources":[{"path":"\/z.go"}],"output":"panic: \n\t/x/y.go:3 a/b.s","message":"x.go"}`)
	if n := testing.AllocsPerRun(100, func() { r.ToHost(nil, msg, false) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzURL checks that each absolute path comes back from its URL.
func FuzzURL(f *testing.F) {
	for _, p := range []string{"/a b/ü.go", `C:\x\y`, "c:/x", `\\server\share`, "/%41?#", "//x", "relative"} {
		f.Add([]byte(p))
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		urlPath(nil, p)
		url := fileURL(nil, p)
		back, ok := urlPath(nil, url)
		if ok && string(normalize(back)) != string(normalize(p)) && isPlainPath(p) {
			t.Errorf("%q becomes %s and comes back as %q", p, url, back)
		}
		if !ok && isAbsolute(p) && isPlainPath(p) {
			t.Errorf("%s of %q is no URL of a path", url, p)
		}
	})
}

// isPlainPath reports whether p is unambiguous: it has no NUL, and its server is neither
// empty nor localhost.
func isPlainPath(p []byte) bool {
	s := strings.ToLower(string(p))
	return len(p) > 0 && !strings.ContainsRune(s, 0) && !strings.HasPrefix(s, `\\/`) && !strings.HasPrefix(s, `\\\`) && !strings.HasPrefix(s, `\\localhost`) && !strings.HasPrefix(s, "//") && (p[0] != '/' || !isWindows(p[1:]))
}

// BenchmarkRewriterFrames is [BenchmarkRewriteFrames] with everything that a session may
// add: files that the host lacks, and a client that sends file URLs and counts from 0.
func BenchmarkRewriterFrames(b *testing.B) {
	frame := `{"id":1001,"name":"server.(*criService).CreateContainer","source":{"name":"container_create.go","path":"/build/containerd/internal/cri/server/container_create.go"},"line":60,"column":0}`
	msg := []byte(`{"seq":1,"body":{"stackFrames":[` + strings.Repeat(frame+",", 49) + frame + `],"totalFrames":50}}`)
	allPresent := &MissingFiles{Find: func(host, node string) Place { return Place{} }}
	for name, r := range map[string]*Rewriter{
		"all there":      {Map: benchMap(b), Missing: allPresent},
		"all lacking":    {Map: benchMap(b), Missing: &MissingFiles{Find: func(host, node string) Place { return Place{Reference: 1 << 30} }}},
		"URLs, 0-based":  {Map: benchMap(b), Missing: allPresent, Client: Client{URI: true, Lines0: true, Columns0: true}},
		"without a rule": {Missing: allPresent},
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(msg)))
			b.ReportAllocs()
			var dst []byte
			for b.Loop() {
				if out, changed := r.ToHost(dst[:0], msg, false); changed > 0 {
					dst = out
				}
			}
		})
	}
}
