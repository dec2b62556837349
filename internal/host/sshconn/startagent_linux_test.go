package sshconn_test

import (
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/host/remote"
	"github.com/dapbridge/dapbridge/internal/host/sshconn"
	"github.com/dapbridge/dapbridge/internal/testenv"
)

const sudoAll = "docker ALL=(ALL) NOPASSWD:ALL\n"

// standIn builds the stand-in agent. Agents with the same salt are identical.
func standIn(t testing.TB, salt string) remote.Binary {
	t.Helper()
	path := filepath.Join(t.TempDir(), "agent")
	cmd := exec.Command("go", "build", "-trimpath", "-o", path, "../remote/testdata/standin")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(salt); err != nil { // ELF allows trailing data
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	b, err := remote.OpenAgent(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// startAgent starts an agent, reads and returns its hello line, and ends it.
func startAgent(t testing.TB, c *sshconn.Conn, b remote.Binary, d remote.UploadOptions, args ...string) string {
	t.Helper()
	cmd, err := remote.StartAgent(t.Context(), c, b, d, args)
	if err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(cmd.Stdout)
	hello, err := r.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(cmd.Stdin, "ping\n"); err != nil {
		t.Fatal(err)
	}
	if line, err := r.ReadString('\n'); err != nil || line != "ping\n" {
		t.Fatalf("the agent echoes %q, %v", line, err)
	}
	if err := cmd.Stdin.Close(); err != nil {
		t.Fatal(err)
	}
	if rest, err := io.ReadAll(r); err != nil || len(rest) > 0 {
		t.Fatalf("the agent ends with %q, %v", rest, err)
	}
	if stderr, err := io.ReadAll(cmd.Stderr); err != nil || !strings.HasSuffix(string(stderr), "bye\n") {
		t.Fatalf("stderr %q, %v", stderr, err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	return hello
}

// checkStartFails checks that StartAgent fails with the code and that the error
// contains each of the parts.
func checkStartFails(t *testing.T, c *sshconn.Conn, b remote.Binary, o remote.UploadOptions, args []string, code diag.Code, parts ...string) {
	t.Helper()
	_, err := remote.StartAgent(t.Context(), c, b, o, args)
	if err == nil {
		t.Errorf("the agent started, want code %s", code)
		return
	}
	checkCode(t, "StartAgent", err, code)
	checkContains(t, err.Error(), parts...)
}

func dockerNode(t testing.TB, shell, setup string) *sshd {
	needsNamespaces(t)
	if _, err := exec.LookPath("sudo"); err != nil {
		testenv.Skipf(t, "needs sudo: apt-get install sudo")
	}
	return startSSHD(t, sshdOptions{user: "docker", sudoers: sudoAll, shell: shell, setup: setup})
}

func TestStartAgent(t *testing.T) {
	s := dockerNode(t, "", "mkdir /var/lib/minikube\n")
	c := dial(t, s.config())
	b := standIn(t, "")
	var calls int
	var last [2]int64
	d := remote.UploadOptions{Progress: func(done, total int64) { calls++; last = [2]int64{done, total} }}
	if hello, want := startAgent(t, c, b, d, "serve", "it's", ""), `hello 0 ["serve" "it's" ""]`+"\n"; hello != want {
		t.Errorf("hello %q, want %q", hello, want)
	}
	info, err := os.Stat(b.Path)
	if err != nil {
		t.Fatal(err)
	}
	if want := [2]int64{info.Size(), info.Size()}; last != want {
		t.Errorf("progress: %d calls, the last with %v, want %v", calls, last, want)
	}
	calls = 0
	startAgent(t, c, b, d)
	if calls != 0 {
		t.Error("the agent was uploaded again")
	}
	got := output(t, c, "sudo sh -c 'ls -ldn /var/lib/minikube/dapbridge /var/lib/minikube/dapbridge/*/dapbridge' | cut -c1-10; sudo ls -A /var/lib/minikube/dapbridge; ls /var/lib")
	if want := "drwx------\n-rwx------\n" + b.Hash + "\nminikube\n"; got != want {
		t.Errorf("on the node:\n%swant:\n%s", got, want)
	}
}

// countingConn counts the commands that are run.
type countingConn struct {
	remote.Conn
	commands int
}

func (c *countingConn) Start(ctx context.Context, argv []string) (*remote.Cmd, error) {
	c.commands++
	return c.Conn.Start(ctx, argv)
}

// either is two agents, of which the first is for the node.
type either [2]remote.Binary

func (e either) Hashes() []string { return append(e[1].Hashes(), e[0].Hashes()...) }

func (e either) Find(ctx context.Context, arch string) (remote.Binary, error) {
	return e[0].Find(ctx, arch)
}

// An agent is announced as uploaded only if it is, and a node that has it needs one
// command, whichever of them it has.
func TestNothingIsUploaded(t *testing.T) {
	s := dockerNode(t, "", "mkdir /var/lib/tmp\nmount -t tmpfs -o noexec tmpfs /var/lib/tmp\n")
	both := either{standIn(t, "1"), standIn(t, "2")}
	foreign := both[0]
	foreign.Arch, foreign.Hash = "s390x", strings.Repeat("0", 64)
	for _, tt := range []struct {
		name     string
		agents   remote.Agents
		dirs     []string
		commands int
		uploads  bool
		code     diag.Code // "" if the agent starts
	}{
		{"no agent for the node", foreign, nil, 1, false, diag.AgentMissing},
		{"no place", both, []string{"/var/lib/tmp/x", "/nowhere/x"}, 2, false, diag.AgentUpload},
		{"the first start", both, nil, 3, true, ""},
		{"the second", both, nil, 1, false, ""},
		{"the same by itself", both[0], nil, 1, false, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var log testenv.Buffer
			c := &countingConn{Conn: dial(t, s.config())}
			o := remote.UploadOptions{Dirs: tt.dirs, Log: slog.New(slog.NewTextHandler(&log, nil))}
			cmd, err := remote.StartAgent(t.Context(), c, tt.agents, o, nil)
			if tt.code != "" {
				checkCode(t, "StartAgent", err, tt.code)
			} else if err != nil {
				t.Fatal(err)
			} else {
				cmd.Close()
			}
			testenv.Equal(t, "the number of commands", c.commands, tt.commands)
			if got := strings.Contains(log.String(), "uploading"); got != tt.uploads {
				t.Errorf("an upload is announced: %v, want %v:\n%s", got, tt.uploads, log.String())
			}
		})
	}
}

// Without /var/lib/minikube the second directory is created. The previous agent stays,
// and older ones are removed unless they run.
func TestOldAgentsAreRemoved(t *testing.T) {
	s := dockerNode(t, "", "")
	c := dial(t, s.config())
	var all []remote.Binary
	for _, salt := range []string{"1", "2", "3", "4", "5"} {
		all = append(all, standIn(t, salt))
	}
	running, err := remote.StartAgent(t.Context(), c, all[0], remote.UploadOptions{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range all[1:] {
		startAgent(t, c, b, remote.UploadOptions{})
	}
	const list = "sudo ls -tr /var/lib/dapbridge"
	checkOutput(t, c, list, all[0].Hash+"\n"+all[3].Hash+"\n"+all[4].Hash+"\n")
	if err := running.Stdin.Close(); err != nil {
		t.Fatal(err)
	}
	if err := running.Wait(); err != nil {
		t.Fatal(err)
	}
	startAgent(t, c, all[1], remote.UploadOptions{})
	checkOutput(t, c, list, all[4].Hash+"\n"+all[1].Hash+"\n")
}

func TestAgentAsRoot(t *testing.T) {
	needsNamespaces(t)
	c := dial(t, startSSHD(t, sshdOptions{}).config())
	startAgent(t, c, standIn(t, ""), remote.UploadOptions{})
}

// A login shell that prints something, a missing gzip, other users' directories and a
// mount without exec do not prevent the upload.
func TestRestrictedNode(t *testing.T) {
	noise := "printf 'Welcome!\\ndapbridge: \\n'; echo more >&2\n"
	s := dockerNode(t, "/run/shell", `mkdir /var/lib/noexec /var/lib/link-to /var/lib/foreign /var/lib/bin
mount -t tmpfs -o noexec tmpfs /var/lib/noexec
ln -s link-to /var/lib/link
chown 4242 /var/lib/foreign
printf '%s' `+remote.Quote([]string{noise})+` >/run/.profile
for tool in sh sudo env id ls cat chmod find mkdir mv rm sha256sum sync uname printf dash; do ln -s /usr/bin/$tool /var/lib/bin/$tool; done
printf 'Defaults secure_path=/var/lib/bin\n' >>/etc/sudoers
printf '#!/bin/sh\n. /run/.profile\nPATH=/var/lib/bin\nexec /bin/sh "$@"\n' >/run/shell
chmod 755 /run/shell /run/.profile
`)
	c := dial(t, s.config())
	b := standIn(t, "")
	if gzip := output(t, c, "sudo sh -c 'command -v gzip || echo none'"); !strings.HasSuffix(gzip, "\nnone\n") {
		t.Errorf("the node has gzip: %s", gzip)
	}
	d := remote.UploadOptions{Dirs: []string{"/nowhere/x", "/var/lib/link", "/var/lib/foreign", "/var/lib/noexec/dapbridge", "/var/lib/good"}}
	startAgent(t, c, b, d)
	startAgent(t, c, b, d)
	got := output(t, c, "sudo ls -A /var/lib/link-to /var/lib/foreign /var/lib/noexec/dapbridge /var/lib/good")
	if !strings.HasSuffix(got, "/var/lib/foreign:\n\n/var/lib/good:\n"+b.Hash+"\n\n/var/lib/link-to:\n\n/var/lib/noexec/dapbridge:\n") {
		t.Errorf("on the node:\n%s", got)
	}
	checkStartFails(t, c, b, remote.UploadOptions{Dirs: d.Dirs[:4]}, nil, diag.AgentUpload,
		"/nowhere does not exist", "/var/lib/link: not a directory owned by root",
		"/var/lib/foreign: not a directory owned by root", "/var/lib/noexec/dapbridge: programs cannot be run")
}

func TestDiskFull(t *testing.T) {
	s := dockerNode(t, "", "mount -t tmpfs -o size=300k,mode=755 tmpfs /var/lib\n")
	c := dial(t, s.config())
	checkStartFails(t, c, standIn(t, ""), remote.UploadOptions{}, nil, diag.AgentUpload, "is full")
	checkOutput(t, c, "sudo find /var/lib -type f", "")
}

func TestNoSudo(t *testing.T) {
	needsNamespaces(t)
	b := standIn(t, "")
	const password, terminal = "docker ALL=(ALL) NOPASSWD:ALL", "Defaults:docker !requiretty" // the rules in the hints
	for name, o := range map[string]sshdOptions{
		"not in sudoers": {},
		"with password":  {sudoers: "docker ALL=(ALL) ALL\n"},
		"other command":  {sudoers: "docker ALL=(ALL) NOPASSWD:/bin/true\n"},
		"not installed":  {sudoers: sudoAll, setup: "mount --bind /dev/null /usr/bin/sudo\n"},
		"no terminal":    {sudoers: "Defaults requiretty\n" + sudoAll},
		"no file":        {setup: "mount -t tmpfs tmpfs /usr/local/bin; mkdir /run/bin; ln -s /usr/bin/sh /usr/bin/env /run/bin\n", config: "SetEnv PATH=/run/bin\n"},
	} {
		t.Run(name, func(t *testing.T) {
			o.user = "docker"
			c := dial(t, startSSHD(t, o).config())
			_, err := remote.StartAgent(t.Context(), c, b, remote.UploadOptions{}, nil)
			checkCode(t, "StartAgent", err, diag.NoSudo)
			var e *diag.Error
			if !errors.As(err, &e) {
				return
			}
			t.Log(e.Summary)
			rule := password
			if name == "no terminal" {
				rule = terminal
			}
			checkContains(t, e.Hint, rule)
		})
	}
}

func TestAgentFails(t *testing.T) {
	c := dial(t, dockerNode(t, "", "").config())
	b := standIn(t, "")
	checkStartFails(t, c, b, remote.UploadOptions{}, []string{"fail"}, diag.AgentUpload, "exit status 3: cannot go on")
	other := b
	other.Arch, other.Hash = "s390x", strings.Repeat("0", 64)
	checkStartFails(t, c, other, remote.UploadOptions{}, nil, diag.AgentMissing, "linux/s390x")
	b.Hash = strings.Repeat("0", 64)
	checkStartFails(t, c, b, remote.UploadOptions{}, nil, diag.AgentUpload, "is damaged")
	text := filepath.Join(t.TempDir(), "text")
	testenv.WriteFile(t, text, "echo wrong >&2; exit 5")
	b.Path, b.Hash = text, fmt.Sprintf("%x", sha256.Sum256([]byte(testenv.ReadFile(t, text))))
	checkStartFails(t, c, b, remote.UploadOptions{}, nil, diag.NodePlatform, "cannot run", "wrong")
	checkOutput(t, c, "sudo ls /var/lib/dapbridge | wc -l", "1\n")
}

// A cut connection, or a cancelled upload, leaves nothing on the node.
func TestCutUpload(t *testing.T) {
	s := dockerNode(t, "", "")
	watch := dial(t, s.config())
	b := standIn(t, "")
	checkNothingLeft := func() {
		t.Helper()
		for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
			files := output(t, watch, "sudo find /var/lib -type f")
			if files == "" {
				return
			}
			if time.Now().After(deadline) {
				t.Errorf("left behind: %s", files)
				return
			}
		}
	}
	p, cfg := startProxyFor(t, s)
	c := dial(t, cfg)
	p.cutAfter(300 << 10)
	checkStartFails(t, c, b, remote.UploadOptions{}, nil, diag.LinkLost)
	checkNothingLeft()

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var once sync.Once
	d := remote.UploadOptions{Progress: func(done, _ int64) {
		if done > 500<<10 {
			once.Do(cancel)
		}
	}}
	if _, err := remote.StartAgent(ctx, watch, b, d, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("StartAgent: %v, want %v", err, context.Canceled)
	}
	checkNothingLeft()
	startAgent(t, watch, b, remote.UploadOptions{})
}

// A login shell with endless output is an error.
func TestEndlessShellOutput(t *testing.T) {
	s := dockerNode(t, "/run/shell", "printf '#!/bin/sh\nexec yes\n' >/run/shell\nchmod 755 /run/shell\n")
	c := dial(t, s.config())
	checkStartFails(t, c, standIn(t, ""), remote.UploadOptions{}, nil, diag.AgentUpload, "the login shell printed more than")
}
