package main

import (
	"bufio"
	"crypto/ed25519"
	"crypto/rand"
	"debug/elf"
	"encoding/binary"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// hostileNode is an SSH server that takes a node's place and answers as no real node
// can be made to. Each command that the host runs has a handler; a nil one behaves as a
// node without programs would.
type hostileNode struct {
	silent bool // accepts connections and logins, but no channels

	start   func(io.ReadWriter) int // the agent
	upload  func(io.ReadWriter) int
	join    func(io.ReadWriter) int // a session
	deliver func(io.ReadWriter) int // symbols

	inspect, deploy, restore func(io.ReadWriter) int // agent swap

	addr, home string
	conns      sync.WaitGroup
}

// serve starts the server until the end of the test, and creates the home directory of
// a user who knows it.
func (n *hostileNode) serve(t *testing.T) {
	t.Helper()
	n.home = t.TempDir()
	host, _ := newKey(t)
	_, private := newKey(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n.addr = l.Addr().String()
	config := &ssh.ServerConfig{PublicKeyCallback: func(ssh.ConnMetadata, ssh.PublicKey) (*ssh.Permissions, error) { return nil, nil }}
	config.AddHostKey(host)
	for name, data := range map[string][]byte{
		".ssh/known_hosts":  []byte(knownhosts.Line([]string{n.addr}, host.PublicKey()) + "\n"),
		".ssh/key":          private,
		"go/telemetry/mode": []byte("off"), // else the go command starts a process that writes here later
	} {
		name = filepath.Join(n.home, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	n.writeAgent(t)
	n.conns.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			n.conns.Go(func() { n.serveConn(conn, config) })
		}
	})
	t.Cleanup(func() { l.Close(); n.conns.Wait() })
}

func newKey(t *testing.T) (ssh.Signer, []byte) {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(key, "")
	if err != nil {
		t.Fatal(err)
	}
	return signer, pem.EncodeToMemory(block)
}

// writeAgent writes an ELF header (elf(5)), which passes for a static executable for
// the node's platform. It is never run.
func (n *hostileNode) writeAgent(t *testing.T) {
	t.Helper()
	machines := map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}
	h := elf.Header64{
		Ident: [elf.EI_NIDENT]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)},
		Type:  uint16(elf.ET_EXEC), Machine: uint16(machines[runtime.GOARCH]), Version: uint32(elf.EV_CURRENT), Ehsize: 64,
	}
	f, err := os.Create(n.agentPath())
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := binary.Write(f, binary.LittleEndian, h); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(make([]byte, 4<<20)); err != nil { // more than an SSH window
		t.Fatal(err)
	}
}

func (n *hostileNode) agentPath() string { return filepath.Join(n.home, "agent") }

// args returns a command line for the node.
func (n *hostileNode) args(command string, more ...string) []string {
	args := []string{command, "--node", "ssh://root@" + n.addr, "--identity", filepath.Join(n.home, ".ssh", "key"), "--agent", n.agentPath(), "--log-level", "debug"}
	return append(args, more...)
}

// setenv has commands run with the home directory of the node's user.
func (n *hostileNode) setenv(t *testing.T) {
	for name, value := range map[string]string{
		"HOME": n.home, "XDG_CACHE_HOME": n.home, "XDG_STATE_HOME": n.home, "XDG_CONFIG_HOME": n.home, "SSH_AUTH_SOCK": "",
	} {
		t.Setenv(name, value)
	}
}

func (n *hostileNode) serveConn(conn net.Conn, config *ssh.ServerConfig) {
	defer conn.Close()
	server, channels, requests, err := ssh.NewServerConn(conn, config)
	if err != nil {
		return
	}
	n.conns.Go(func() {
		for r := range requests { // keepalive@openssh.com is answered in any case
			r.Reply(true, nil)
		}
	})
	var wg sync.WaitGroup
	for c := range channels {
		if n.silent {
			continue
		}
		channel, requests, err := c.Accept()
		if err != nil {
			break
		}
		wg.Go(func() { n.serveChannel(channel, requests) })
	}
	wg.Wait()
	server.Wait()
}

// serveChannel runs the handler of one command.
func (n *hostileNode) serveChannel(channel ssh.Channel, requests <-chan *ssh.Request) {
	var handle func(io.ReadWriter) int
	for r := range requests {
		var exec struct{ Command string }
		ok := r.Type == "exec" && ssh.Unmarshal(r.Payload, &exec) == nil
		r.Reply(ok, nil)
		if ok {
			handle = n.handler(exec.Command)
			break
		}
	}
	if handle != nil {
		status := handle(channel)
		if status == stay {
			for range requests {
			}
			return
		}
		if status >= 0 {
			channel.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{uint32(status)}))
		}
	}
	channel.Close()
	for range requests {
	}
}

// handler returns the handler of a command.
func (n *hostileNode) handler(command string) func(io.ReadWriter) int {
	for _, p := range []struct {
		part     string // of this command only
		handle   func(io.ReadWriter) int
		fallback func(io.ReadWriter) int
	}{
		{"dapbridge: ready", n.upload, printAndExit("dapbridge: ready raw\n", 1)},
		{"supervise", n.start, (&scriptedAgent{}).run},
		{"agent join", n.join, printAndExit("", 1)},
		{"agent symbols", n.deliver, printAndExit("", 1)},
		{"agent swap inspect", n.inspect, printAndExit("", 1)},
		{"agent swap deploy", n.deploy, printAndExit("", 1)},
		{"agent swap restore", n.restore, printAndExit("", 1)},
	} {
		if strings.Contains(command, p.part) {
			if p.handle != nil {
				return p.handle
			}
			return p.fallback
		}
	}
	return printAndExit("", 127)
}

// stay is the status of a command whose channel stays open.
const stay = -2

// leaveOpen returns a handler that leaves the channel open after play.
func leaveOpen(play func(io.ReadWriter) int) func(io.ReadWriter) int {
	return func(rw io.ReadWriter) int {
		play(rw)
		return stay
	}
}

// printAndExit returns a handler that writes text and exits; with status -1 it closes the
// channel without an exit status.
func printAndExit(text string, status int) func(io.ReadWriter) int {
	return func(rw io.ReadWriter) int {
		io.WriteString(rw, text)
		return status
	}
}

// printToStderr returns a handler that writes text to standard error before it does next.
func printToStderr(text string, next func(io.ReadWriter) int) func(io.ReadWriter) int {
	return func(rw io.ReadWriter) int {
		io.WriteString(rw.(ssh.Channel).Stderr(), text)
		return next(rw)
	}
}

// uname returns what uname -s -m prints on a node of this machine's architecture.
func uname() string {
	return "Linux " + map[string]string{"amd64": "x86_64", "arm64": "aarch64"}[runtime.GOARCH]
}

// otherUname returns what it prints on a node of the other architecture.
func otherUname() string {
	return "Linux " + map[string]string{"amd64": "aarch64", "arm64": "x86_64"}[runtime.GOARCH]
}

// printForever returns a handler that writes text again and again.
func printForever(before, text string) func(io.ReadWriter) int {
	return func(rw io.ReadWriter) int {
		io.WriteString(rw, before)
		big := strings.Repeat(text, max(1, 32<<10/len(text)))
		for {
			if _, err := io.WriteString(rw, big); err != nil {
				return -1
			}
		}
	}
}

// printAndHang returns a handler that writes text, and nothing more until the connection
// ends.
func printAndHang(text string) func(io.ReadWriter) int {
	return func(rw io.ReadWriter) int {
		io.WriteString(rw, text)
		io.Copy(io.Discard, rw)
		return -1
	}
}

const startMark = "dapbridge: start\n"

// scriptedAgent is the agent's end of a link: it sends a hello, and an answer to each
// method.
type scriptedAgent struct {
	hello   string            // instead of a valid one
	extra   string            // lines after the hello
	answers map[string]string // a method's result, or after a "!" the whole line, with ID for the request's id
	never   []string          // methods without an answer
	flood   string            // written again and again after the hello, between the answers
}

// helloWith returns a valid hello with further fields.
func helloWith(fields string) string {
	return `{"protocol":1,"version":"v1","os":"linux","arch":"amd64","pid":7,"socket":"@s","capabilities":{},` + fields + `}`
}

// aTarget is a hello's target.
const aTarget = `"target":{"pid":4711,"startTime":"2026-01-01T00:00:00Z","startTicks":1,"exe":"/usr/bin/containerd","args":[],"uid":0,"parent":1,"build":{"goVersion":"go1.26.0","modulePath":"example.com/m","mainPackage":"example.com/m"}}`

const noTarget = `"targetError":{"code":"target-none","summary":"there is none"}`

func (a *scriptedAgent) run(rw io.ReadWriter) int {
	hello := a.hello
	if hello == "" {
		hello = helloWith(noTarget)
	}
	var writing sync.Mutex
	write := func(text string) error {
		writing.Lock()
		defer writing.Unlock()
		_, err := io.WriteString(rw, text)
		return err
	}
	write(startMark + hello + "\n" + a.extra)
	var flooding sync.WaitGroup
	defer flooding.Wait()
	if a.flood != "" {
		flooding.Go(func() {
			big := strings.Repeat(a.flood, max(1, 32<<10/len(a.flood)))
			for write(big) == nil {
			}
		})
	}
	lines := bufio.NewReader(rw)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return 0
		}
		var r struct {
			ID     json.RawMessage
			Method string
		}
		if json.Unmarshal(line, &r) != nil || r.ID == nil || slices.Contains(a.never, r.Method) {
			continue
		}
		answer, ok := a.answers[r.Method]
		switch raw, whole := strings.CutPrefix(answer, "!"); {
		case !ok && r.Method != "ping" && r.Method != "release":
			answer = fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"error":{"code":-32601,"message":"no such method"}}`, r.ID)
		case whole:
			answer = strings.ReplaceAll(raw, "ID", string(r.ID))
		case !ok:
			answer = fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"result":null}`, r.ID)
		default:
			answer = fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"result":%s}`, r.ID, answer)
		}
		if write(answer+"\n") != nil {
			return -1
		}
		if r.Method == "release" && a.flood == "" {
			return 0
		}
	}
}
