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
	"strings"
	"sync"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// hostileNode is an SSH server in place of a node's, which a test has say what
// no node would: a real one can't be made to. Each command that the host runs
// is played by one function. What is nil is played well, as far as a node
// without programs can.
type hostileNode struct {
	silent bool // takes connections and logins, and no channels

	start    func(io.ReadWriter) int // runs the agent: writes its first bytes and all that follows
	upload   func(io.ReadWriter) int
	platform func(io.ReadWriter) int
	join     func(io.ReadWriter) int // a session's channel
	deliver  func(io.ReadWriter) int // symbols

	inspect, deploy, restore func(io.ReadWriter) int // of agent swap

	addr, home string
	conns      sync.WaitGroup
}

// serve starts the server, which ends with the test, and makes the home of a
// user who knows it.
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
		"go/telemetry/mode": []byte("off"), // else a process of the go command's writes here later
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
			n.conns.Go(func() { n.connection(conn, config) })
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

// writeAgent writes what passes for a static program of the node's platform:
// an ELF header (elf(5)). Nobody ever runs it.
func (n *hostileNode) writeAgent(t *testing.T) {
	t.Helper()
	machines := map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}
	h := elf.Header64{
		Ident: [elf.EI_NIDENT]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)},
		Type:  uint16(elf.ET_EXEC), Machine: uint16(machines[runtime.GOARCH]), Version: uint32(elf.EV_CURRENT), Ehsize: 64,
	}
	f, err := os.Create(n.agent())
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := binary.Write(f, binary.LittleEndian, h); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(make([]byte, 4<<20)); err != nil { // more than a window of SSH's
		t.Fatal(err)
	}
}

func (n *hostileNode) agent() string { return filepath.Join(n.home, "agent") }

// args is a command line that names the node.
func (n *hostileNode) args(command string, more ...string) []string {
	args := []string{command, "--node", "ssh://root@" + n.addr, "--identity", filepath.Join(n.home, ".ssh", "key"), "--agent", n.agent(), "--log-level", "debug"}
	return append(args, more...)
}

// setenv makes its user the one who runs commands.
func (n *hostileNode) setenv(t *testing.T) {
	for name, value := range map[string]string{
		"HOME": n.home, "XDG_CACHE_HOME": n.home, "XDG_STATE_HOME": n.home, "XDG_CONFIG_HOME": n.home, "SSH_AUTH_SOCK": "",
	} {
		t.Setenv(name, value)
	}
}

func (n *hostileNode) connection(conn net.Conn, config *ssh.ServerConfig) {
	defer conn.Close()
	server, channels, requests, err := ssh.NewServerConn(conn, config)
	if err != nil {
		return
	}
	n.conns.Go(func() {
		for r := range requests { // keepalive@openssh.com is answered, whatever else is not
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
		wg.Go(func() { n.channel(channel, requests) })
	}
	wg.Wait()
	server.Wait()
}

// channel plays one command.
func (n *hostileNode) channel(channel ssh.Channel, requests <-chan *ssh.Request) {
	var play func(io.ReadWriter) int
	for r := range requests {
		var exec struct{ Command string }
		ok := r.Type == "exec" && ssh.Unmarshal(r.Payload, &exec) == nil
		r.Reply(ok, nil)
		if ok {
			play = n.player(exec.Command)
			break
		}
	}
	if play != nil {
		status := play(channel)
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

// player tells a command by what only it holds.
func (n *hostileNode) player(command string) func(io.ReadWriter) int {
	for _, p := range []struct {
		holds string
		play  func(io.ReadWriter) int
		well  func(io.ReadWriter) int
	}{
		{"dapbridge: ready", n.upload, says("dapbridge: ready raw\n", 1)},
		{"supervise", n.start, (&scriptedAgent{}).run},
		{"agent join", n.join, says("", 1)},
		{"agent symbols", n.deliver, says("", 1)},
		{"agent swap inspect", n.inspect, says("", 1)},
		{"agent swap deploy", n.deploy, says("", 1)},
		{"agent swap restore", n.restore, says("", 1)},
		{"uname", n.platform, says("Linux "+map[string]string{"amd64": "x86_64", "arm64": "aarch64"}[runtime.GOARCH]+"\n", 0)},
	} {
		if strings.Contains(command, p.holds) {
			if p.play != nil {
				return p.play
			}
			return p.well
		}
	}
	return says("", 127)
}

// stay is the status of a command that never ends, though it has no more to say.
const stay = -2

func stays(play func(io.ReadWriter) int) func(io.ReadWriter) int {
	return func(rw io.ReadWriter) int {
		play(rw)
		return stay
	}
}

// says plays a command that writes a text and ends with a status; -1 is none.
func says(text string, status int) func(io.ReadWriter) int {
	return func(rw io.ReadWriter) int {
		io.WriteString(rw, text)
		return status
	}
}

// floods plays a command that writes a text without end.
func floods(before, text string) func(io.ReadWriter) int {
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

// stalls plays a command that writes a text, and then nothing for as long as
// the connection stands.
func stalls(text string) func(io.ReadWriter) int {
	return func(rw io.ReadWriter) int {
		io.WriteString(rw, text)
		io.Copy(io.Discard, rw)
		return -1
	}
}

const startMark = "dapbridge: start\n"

// scriptedAgent speaks the agent's side of the link: a hello, and an answer for
// each method.
type scriptedAgent struct {
	hello   string            // in place of a good one
	extra   string            // lines after the hello
	answers map[string]string // a method's result, or with a leading "!" the whole line, where ID is the request's
	never   []string          // methods that are not answered
	flood   string            // text that follows the hello without end, beside the answers
}

func goodHello(fields string) string {
	return `{"protocol":1,"version":"v1","os":"linux","arch":"amd64","pid":7,"socket":"@s","capabilities":{},` + fields + `}`
}

// aTarget is the target of a hello that has one.
const aTarget = `"target":{"pid":4711,"startTime":"2026-01-01T00:00:00Z","startTicks":1,"exe":"/usr/bin/containerd","args":[],"uid":0,"parent":1,"build":{"goVersion":"go1.26.0","modulePath":"example.com/m","mainPackage":"example.com/m"}}`

const noTarget = `"targetError":{"code":"target-none","summary":"there is none"}`

func (a *scriptedAgent) run(rw io.ReadWriter) int {
	hello := a.hello
	if hello == "" {
		hello = goodHello(noTarget)
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
		if json.Unmarshal(line, &r) != nil || r.ID == nil || contains(a.never, r.Method) {
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

func contains(list []string, s string) bool {
	for _, e := range list {
		if e == s {
			return true
		}
	}
	return false
}
