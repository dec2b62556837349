package sshconn_test

import (
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
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

// standIn builds the stand-in agent. The same salt gives the same binary.
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
	if _, err := f.WriteString(salt); err != nil { // ELF does not mind
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	b, err := remote.FindAgent(t.Context(), remote.AgentOptions{Explicit: path, OS: "linux", Arch: runtime.GOARCH})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// startAgent starts an agent, reads its hello and ends it.
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
		t.Fatalf("the agent answers %q, %v", line, err)
	}
	if err := cmd.Stdin.Close(); err != nil {
		t.Fatal(err)
	}
	if rest, err := io.ReadAll(r); err != nil || len(rest) > 0 {
		t.Fatalf("the agent's end: %q, %v", rest, err)
	}
	if stderr, err := io.ReadAll(cmd.Stderr); err != nil || !strings.HasSuffix(string(stderr), "bye\n") {
		t.Fatalf("stderr %q, %v", stderr, err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	return hello
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
	if calls == 0 || last != [2]int64{info.Size(), info.Size()} {
		t.Errorf("progress: %d calls, the last with %v", calls, last)
	}
	calls = 0
	startAgent(t, c, b, d)
	if calls != 0 {
		t.Error("the agent was copied again")
	}
	got := output(t, c, "sudo sh -c 'ls -ldn /var/lib/minikube/dapbridge /var/lib/minikube/dapbridge/*/dapbridge' | cut -c1-10; sudo ls -A /var/lib/minikube/dapbridge; ls /var/lib")
	if want := "drwx------\n-rwx------\n" + b.Hash + "\nminikube\n"; got != want {
		t.Errorf("on the node:\n%swant:\n%s", got, want)
	}
}

// With no /var/lib/minikube the second directory is made; an older agent is
// kept, one older still is not, unless it runs.
func TestOldAgentsGo(t *testing.T) {
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
	has := func() string { return output(t, c, "sudo ls -tr /var/lib/dapbridge") }
	if want := all[0].Hash + "\n" + all[3].Hash + "\n" + all[4].Hash + "\n"; has() != want {
		t.Errorf("stored are\n%swant\n%s", has(), want)
	}
	if err := running.Stdin.Close(); err != nil {
		t.Fatal(err)
	}
	if err := running.Wait(); err != nil {
		t.Fatal(err)
	}
	startAgent(t, c, all[1], remote.UploadOptions{})
	if want := all[4].Hash + "\n" + all[1].Hash + "\n"; has() != want {
		t.Errorf("stored are\n%swant\n%s", has(), want)
	}
}

func TestAgentAsRoot(t *testing.T) {
	needsNamespaces(t)
	c := dial(t, startSSHD(t, sshdOptions{}).config())
	startAgent(t, c, standIn(t, ""), remote.UploadOptions{})
}

// A login shell that talks, a gzip that is missing, other people's directories,
// a mount without exec: none of them is in the way.
func TestOddNode(t *testing.T) {
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
	_, err := remote.StartAgent(t.Context(), c, b, remote.UploadOptions{Dirs: d.Dirs[:4]}, nil)
	if diag.CodeOf(err) != diag.AgentUpload {
		t.Errorf("no usable directory: %v", err)
	}
	for _, why := range []string{"/nowhere does not exist", "/var/lib/link: not a directory owned by root", "/var/lib/foreign: not a directory owned by root", "/var/lib/noexec/dapbridge: programs cannot be run"} {
		if !strings.Contains(err.Error(), why) {
			t.Errorf("%q does not say %q", err, why)
		}
	}
}

func TestDiskFull(t *testing.T) {
	s := dockerNode(t, "", "mount -t tmpfs -o size=300k,mode=755 tmpfs /var/lib\n")
	c := dial(t, s.config())
	_, err := remote.StartAgent(t.Context(), c, standIn(t, ""), remote.UploadOptions{}, nil)
	if diag.CodeOf(err) != diag.AgentUpload || !strings.Contains(err.Error(), "is full") {
		t.Errorf("%v", err)
	}
	if left := output(t, c, "sudo find /var/lib -type f"); left != "" {
		t.Errorf("left behind: %s", left)
	}
}

func TestNoSudo(t *testing.T) {
	needsNamespaces(t)
	b := standIn(t, "")
	const password, terminal = "docker ALL=(ALL) NOPASSWD:ALL", "Defaults:docker !requiretty" // what is to be added
	for name, o := range map[string]sshdOptions{
		"not in sudoers": {},
		"with password":  {sudoers: "docker ALL=(ALL) ALL\n"},
		"other command":  {sudoers: "docker ALL=(ALL) NOPASSWD:/bin/true\n"},
		"not installed":  {sudoers: sudoAll, setup: "mount --bind /dev/null /usr/bin/sudo\n"},
		"no terminal":    {sudoers: "Defaults requiretty\n" + sudoAll},
		"no file":        {setup: "mount -t tmpfs tmpfs /usr/local/bin; mkdir /run/bin; ln -s /usr/bin/sh /usr/bin/env /run/bin\n", config: "SetEnv PATH=/run/bin\n"},
	} {
		o.user = "docker"
		c := dial(t, startSSHD(t, o).config())
		_, err := remote.StartAgent(t.Context(), c, b, remote.UploadOptions{}, nil)
		var e *diag.Error
		rule := password
		if name == "no terminal" {
			rule = terminal
		}
		if !errors.As(err, &e) || e.Code != diag.NoSudo || !strings.Contains(e.Hint, rule) {
			t.Errorf("%s: %v", name, err)
		} else {
			t.Logf("%s: %v", name, err)
		}
	}
}

func TestAgentFails(t *testing.T) {
	c := dial(t, dockerNode(t, "", "").config())
	b := standIn(t, "")
	_, err := remote.StartAgent(t.Context(), c, b, remote.UploadOptions{}, []string{"fail"})
	if diag.CodeOf(err) != diag.AgentUpload || !strings.Contains(err.Error(), "exit status 3: cannot go on") {
		t.Errorf("an agent that fails: %v", err)
	}
	other := b
	other.Arch, other.Hash = "s390x", strings.Repeat("0", 64)
	if _, err := remote.StartAgent(t.Context(), c, other, remote.UploadOptions{}, nil); diag.CodeOf(err) != diag.NodePlatform {
		t.Errorf("another architecture: %v", err)
	}
	b.Hash = strings.Repeat("0", 64)
	if _, err := remote.StartAgent(t.Context(), c, b, remote.UploadOptions{}, nil); diag.CodeOf(err) != diag.AgentUpload || !strings.Contains(err.Error(), "is damaged") {
		t.Errorf("another hash: %v", err)
	}
	text := filepath.Join(t.TempDir(), "text")
	testenv.WriteFile(t, text, "echo wrong >&2; exit 5")
	b.Path, b.Hash = text, fmt.Sprintf("%x", sha256.Sum256([]byte(testenv.ReadFile(t, text))))
	if _, err := remote.StartAgent(t.Context(), c, b, remote.UploadOptions{}, nil); diag.CodeOf(err) != diag.NodePlatform || !strings.HasSuffix(err.Error(), "wrong") {
		t.Errorf("one that does not run: %v", err)
	}
	if left := output(t, c, "sudo ls /var/lib/dapbridge | wc -l"); left != "1\n" {
		t.Errorf("left behind: %s", left)
	}
}

// A cut connection, or a caller who gives up, leaves nothing on the node.
func TestCutUpload(t *testing.T) {
	s := dockerNode(t, "", "")
	watch := dial(t, s.config())
	b := standIn(t, "")
	left := func() string {
		for deadline := time.Now().Add(10 * time.Second); ; {
			files := output(t, watch, "sudo find /var/lib -type f")
			if files == "" || time.Now().After(deadline) {
				return files
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
	p, cfg := behindProxy(t, s)
	c := dial(t, cfg)
	p.cutAfter(300 << 10)
	if _, err := remote.StartAgent(t.Context(), c, b, remote.UploadOptions{}, nil); diag.CodeOf(err) != diag.LinkLost {
		t.Errorf("a cut connection: %v", err)
	}
	if files := left(); files != "" {
		t.Errorf("left after the cut: %s", files)
	}

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var once sync.Once
	d := remote.UploadOptions{Progress: func(done, _ int64) {
		if done > 500<<10 {
			once.Do(cancel)
		}
	}}
	if _, err := remote.StartAgent(ctx, watch, b, d, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled context: %v", err)
	}
	if files := left(); files != "" {
		t.Errorf("left after the cancellation: %s", files)
	}
	startAgent(t, watch, b, remote.UploadOptions{})
}

func TestPlatform(t *testing.T) {
	c := dial(t, startSSHD(t, sshdOptions{}).config())
	goos, goarch, err := remote.Platform(t.Context(), c)
	if err != nil || goos != "linux" || goarch != runtime.GOARCH {
		t.Errorf("%s/%s, %v", goos, goarch, err)
	}
}

// A login shell that never stops talking is not waited for.
func TestEndlessNoise(t *testing.T) {
	s := dockerNode(t, "/run/shell", "printf '#!/bin/sh\nexec yes\n' >/run/shell\nchmod 755 /run/shell\n")
	c := dial(t, s.config())
	if _, err := remote.StartAgent(t.Context(), c, standIn(t, ""), remote.UploadOptions{}, nil); err == nil || !strings.Contains(err.Error(), "the login shell printed more than") {
		t.Errorf("%v", err)
	}
}
