package pathmap

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// bigMessage is 20 MB of variables with one Source for every 2 KB.
func bigMessage() []byte {
	const value = `*server.criService {config: (*\"config.Config\")(0x1dd33da), os: os.OS(*os.RealOS) *{}, store: nil}`
	var b bytes.Buffer
	b.WriteString(`{"seq":5,"type":"response","request_seq":3,"success":true,"command":"variables","body":{"variables":[`)
	for i := 0; b.Len() < 20_000_000; i++ {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"source":{"name":"main.go","path":"/build/containerd/internal/cri/server/file%d.go"},"line":%d}`, i, i)
		for j := range 7 {
			fmt.Fprintf(&b, `,{"name":"field%d","value":"%s","type":"*github.com/containerd/containerd/v2/internal/cri/server.criService","variablesReference":%d,"evaluateName":"c.field%d"}`, j, value, i*10+j, j)
		}
	}
	b.WriteString(`]}}`)
	return b.Bytes()
}

func benchMap(b *testing.B) *Map {
	m, err := New(Rule{Host: "/home/dev/containerd", Node: "/build/containerd"}, Rule{Host: "/usr/local/go/src", Node: "/go/src"})
	if err != nil {
		b.Fatal(err)
	}
	return m
}

func BenchmarkRewrite(b *testing.B) {
	m, msg := benchMap(b), bigMessage()
	b.SetBytes(int64(len(msg)))
	b.ReportAllocs()
	var dst []byte
	for b.Loop() {
		var changed int
		if dst, changed = m.Rewrite(dst[:0], msg, ToHost); changed == 0 {
			b.Fatal("nothing changed")
		}
	}
}

func BenchmarkRewriteNothing(b *testing.B) {
	m, msg := benchMap(b), bigMessage()
	b.SetBytes(int64(len(msg)))
	b.ReportAllocs()
	for b.Loop() {
		if _, changed := m.Rewrite(nil, msg, ToNode); changed != 0 {
			b.Fatal("something changed")
		}
	}
}

// BenchmarkRewriteFrames rewrites a stackTrace response: short strings, every second of
// them a path.
func BenchmarkRewriteFrames(b *testing.B) {
	m := benchMap(b)
	frame := `{"id":1001,"name":"server.(*criService).CreateContainer","source":{"name":"container_create.go","path":"/build/containerd/internal/cri/server/container_create.go"},"line":60,"column":0}`
	msg := []byte(`{"seq":1,"body":{"stackFrames":[` + strings.Repeat(frame+",", 49) + frame + `],"totalFrames":50}}`)
	b.SetBytes(int64(len(msg)))
	b.ReportAllocs()
	var dst []byte
	for b.Loop() {
		dst, _ = m.Rewrite(dst[:0], msg, ToHost)
	}
}

func BenchmarkJSONValid(b *testing.B) {
	msg := bigMessage()
	b.SetBytes(int64(len(msg)))
	for b.Loop() {
		if !json.Valid(msg) {
			b.Fatal("invalid")
		}
	}
}

func BenchmarkDecodeEncode(b *testing.B) {
	msg := bigMessage()
	b.SetBytes(int64(len(msg)))
	b.ReportAllocs()
	for b.Loop() {
		var v any
		if err := json.Unmarshal(msg, &v); err != nil {
			b.Fatal(err)
		}
		if _, err := json.Marshal(v); err != nil {
			b.Fatal(err)
		}
	}
}
