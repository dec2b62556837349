package pathmap

import (
	"bytes"
	"fmt"
	"testing"
)

// sourceNames returns the files of a target, sorted as Delve lists them: those of
// its main module, of dependencies in a vendor directory, and of the standard
// library.
func sourceNames(n int) []string {
	names := make([]string, 0, n)
	for i := 0; len(names) < n; i++ {
		dir := fmt.Sprintf("/build/containerd/internal/cri/server/part%d", i)
		switch i % 3 {
		case 1:
			dir = fmt.Sprintf("/build/containerd/vendor/github.com/opencontainers/image-spec/specs-go/v%d", i)
		case 2:
			dir = fmt.Sprintf("/go/src/internal/runtime/part%d", i)
		}
		for j := range 12 {
			names = append(names, fmt.Sprintf("%s/container_create_%d_linux.go", dir, j))
		}
	}
	return names[:n]
}

// joinNames returns a message of names: each in the given format, separated by sep.
func joinNames(head, format, sep, tail string, names []string) []byte {
	var b bytes.Buffer
	b.WriteString(head)
	for i, name := range names {
		if i > 0 {
			b.WriteString(sep)
		}
		fmt.Fprintf(&b, format, name)
	}
	b.WriteString(tail)
	return b.Bytes()
}

// BenchmarkScanSources rewrites messages that are nearly all paths: what `dlv
// sources` prints in the debug console (service/dap/command.go), mapped and
// without a rule that applies, the response to loadedSources, and the answer to
// ListSources of JSON-RPC.
func BenchmarkScanSources(b *testing.B) {
	m, names := benchMap(b), sourceNames(3_200)
	other, err := New(Rule{Host: "/home/dev/other", Node: "/other"})
	if err != nil {
		b.Fatal(err)
	}
	console := joinNames(`{"seq":5,"type":"response","request_seq":3,"success":true,"command":"evaluate","body":{"result":"`, "%s", `\n`, `","variablesReference":0}}`, names)
	loaded := joinNames(`{"seq":5,"type":"response","request_seq":3,"success":true,"command":"loadedSources","body":{"sources":[`, `{"name":"container_create_linux.go","path":"%s"}`, `,`, `]}}`, names)
	list := joinNames(`{"id":7,"result":{"Sources":[`, `"%s"`, ",", `]},"error":null}`, names)
	onHost := &MissingFiles{Find: func(string, string) Place { return Place{} }}
	benchScan(b, "console", console, (&Rewriter{Map: m}).Scan)
	benchScan(b, "console unmapped", console, (&Rewriter{Map: other}).Scan)
	benchScan(b, "loadedSources", loaded, (&Rewriter{Map: m, Missing: onHost}).Scan)
	benchScan(b, "ListSources", list, (&Rewriter{Map: m}).ScanRPC)
}

func benchScan(b *testing.B, name string, msg []byte, scan func(*Edits, []byte, MemberFunc) error) {
	b.Run(name, func(b *testing.B) {
		b.SetBytes(int64(len(msg)))
		b.ReportAllocs()
		var e Edits
		var dst []byte
		for b.Loop() {
			if err := scan(&e, msg, ignoreMember); err != nil {
				b.Fatal(err)
			}
			dst = e.Apply(dst[:0], msg)
		}
	})
}
