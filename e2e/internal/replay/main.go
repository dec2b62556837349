// Command replay stands where Delve does, for benchmarks of large responses: it
// answers every request of the Debug Adapter Protocol by the same body.
//
//	replay serve SIZE PATHS [ADDR]     on the node, on standard input and output or on ADDR
//	replay bridge SSH-NODE KEY KNOWN-HOSTS REPLAY SIZE PATHS
//
// The second runs a bridge on the host, whose sessions are `replay serve` on the
// node, and prints its address.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"

	"github.com/google/go-dap"

	"github.com/dapbridge/dapbridge/bridge"
	"github.com/dapbridge/dapbridge/internal/host/node"
	"github.com/dapbridge/dapbridge/internal/host/remote"
	"github.com/dapbridge/dapbridge/internal/host/sshconn"
	"github.com/dapbridge/dapbridge/pathmap"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch {
	case len(args) >= 3 && args[0] == "serve":
		body, err := response(args[1], args[2])
		if err != nil {
			return err
		}
		if len(args) == 3 {
			return serve(os.Stdin, os.Stdout, body)
		}
		return listen(args[3], body)
	case len(args) == 7 && args[0] == "bridge":
		return serveBridge(args[1], args[2], args[3], args[4:])
	}
	return fmt.Errorf("usage: see the package's comment")
}

// response returns the body of a response of that many bytes. If paths is "paths"
// it holds one Source's path for every 2 KB; if it is "console" it is nothing but
// paths, as `dlv sources` prints them in the debug console.
func response(size, paths string) ([]byte, error) {
	n, err := strconv.Atoi(size)
	if err != nil {
		return nil, err
	}
	if paths == "console" {
		return consoleResponse(n), nil
	}
	member := "name"
	if paths == "paths" {
		member = "source"
	}
	var b strings.Builder
	b.WriteString(`{"stackFrames":[`)
	for i := 0; b.Len() < n; i++ {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"id":%d,%q:{"path":"/node/src/internal/cri/server/file_%d.go"},"line":%d,"text":%q}`, i, member, i%1000, i%500, strings.Repeat("the quick brown fox ", 95))
	}
	b.WriteString(`]}`)
	return []byte(b.String()), nil
}

// consoleResponse returns a list of source files, twelve in each directory.
func consoleResponse(size int) []byte {
	var b strings.Builder
	b.WriteString(`{"result":"`)
	for i := 0; b.Len() < size; i++ {
		fmt.Fprintf(&b, `/node/src/vendor/github.com/opencontainers/image-spec/v%d/container_create_%d_linux.go\n`, i/12, i%12)
	}
	b.WriteString(`","variablesReference":0}`)
	return []byte(b.String())
}

func listen(addr string, body []byte) error {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	for {
		conn, err := ln.Accept()
		if err != nil {
			return err
		}
		go func() { defer conn.Close(); serve(conn, conn, body) }()
	}
}

// serve answers requests until their end. Only stackTrace gets the body.
func serve(r io.Reader, w io.Writer, body []byte) error {
	in, out := bufio.NewReader(r), bufio.NewWriterSize(w, 64<<10)
	for {
		raw, err := dap.ReadBaseMessage(in)
		if err != nil {
			return err
		}
		var req struct {
			Seq     int
			Command string
		}
		if err := json.Unmarshal(raw, &req); err != nil {
			return err
		}
		answer := "{}"
		head := fmt.Sprintf(`{"seq":0,"type":"response","request_seq":%d,"success":true,"command":%q,"body":`, req.Seq, req.Command)
		if req.Command == "stackTrace" {
			fmt.Fprintf(out, "Content-Length: %d\r\n\r\n%s", len(head)+len(body)+1, head)
			out.Write(body)
			answer = ""
		} else {
			fmt.Fprintf(out, "Content-Length: %d\r\n\r\n%s", len(head)+len(answer)+1, head)
		}
		out.WriteString(answer + "}")
		if err := out.Flush(); err != nil {
			return err
		}
	}
}

func serveBridge(spec, key, knownHosts string, replay []string) error {
	n, err := node.Resolve(node.Options{Spec: spec, Identity: key})
	if err != nil {
		return err
	}
	ctx := context.Background()
	conn, err := sshconn.Dial(ctx, sshconn.Config{Node: n, KnownHosts: []string{knownHosts}})
	if err != nil {
		return err
	}
	m, err := pathmap.New(pathmap.Rule{Host: "/home/user/containerd", Node: "/node/src"})
	if err != nil {
		return err
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(ln.Addr())
	argv := append([]string{replay[0], "serve"}, replay[1:]...)
	return bridge.NewServer(bridge.Config{Dialer: &dialer{conn, argv, m}}).Serve(ctx, ln)
}

type dialer struct {
	conn *sshconn.Conn
	argv []string
	m    *pathmap.Map
}

func (d *dialer) Capabilities() json.RawMessage { return json.RawMessage("{}") }

func (d *dialer) Dial(ctx context.Context, _ bridge.DialOptions) (bridge.Session, error) {
	cmd, err := d.conn.Start(ctx, d.argv)
	if err != nil {
		return nil, err
	}
	return &session{cmd, d.m}, nil
}

// session is one `replay serve` on the node.
type session struct {
	cmd *remote.Cmd
	m   *pathmap.Map
}

func (s *session) Read(p []byte) (int, error)  { return s.cmd.Stdout.Read(p) }
func (s *session) Write(p []byte) (int, error) { return s.cmd.Stdin.Write(p) }
func (s *session) End(context.Context) error   { s.cmd.Close(); return nil }
func (s *session) Target() bridge.TargetInfo   { return bridge.TargetInfo{Name: "replay"} }
func (s *session) Map() *pathmap.Map           { return s.m }
func (s *session) Notify(func(string))         {}
func (s *session) Sources() bridge.SourceFiles { return nil }
