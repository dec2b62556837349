package rsync

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"path"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/host/procgroup"
	"github.com/dapbridge/dapbridge/internal/host/remote"
)

// Transfer runs rsync. Its methods must not be called concurrently.
type Transfer struct {
	// Program is the host's rsync; "" makes the first Send find it.
	Program string
	// Self is the path of dapbridge on the host, which rsync runs as its remote shell.
	Self string
	Node remote.Conn
	Top  string // the tree on the node, an absolute path

	unusable error // why every Send fails; nil if unknown
}

// Send uploads the files at paths below the host's directory dir to the same paths below
// stage, a directory in the node's tree. It sends each as its difference from the file at
// its path in the tree. sent is the number of bytes that crossed the connection, both
// ways.
//
// It is not an error if files could not be read or written. They are missing from stage,
// or outdated: the caller must check. After a diag.NoRsync error, every call fails with
// it.
func (t *Transfer) Send(ctx context.Context, dir, stage string, paths []string, compress bool) (sent int64, err error) {
	if t.unusable == nil && t.Program == "" {
		t.Program, t.unusable = Find(ctx)
	}
	if t.unusable == nil {
		sent, err = t.send(ctx, dir, stage, paths, compress)
	} else {
		err = t.unusable
	}
	if errors.Is(err, &diag.Error{Code: diag.NoRsync}) {
		t.unusable = err
	}
	return sent, err
}

// nodeGrace is how long the node's rsync may continue after the host's has ended.
const nodeGrace = 10 * time.Second

func (t *Transfer) send(ctx context.Context, dir, stage string, paths []string, compress bool) (int64, error) {
	ours, theirs, err := socketpair()
	if err != nil {
		return 0, diag.Errorf(diag.NoRsync, "create a socket for rsync's remote shell: %w", err)
	}
	defer ours.Close()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	cmd := procgroup.Command(ctx, t.Program, t.args(compress)...)
	cmd.Dir, cmd.Env = dir, []string{"LC_ALL=C"} // without RSYNC_*, and without HOME, which may hold a .popt
	cmd.ExtraFiles = append(cmd.ExtraFiles, theirs)
	cmd.Stdin = fileList(paths)
	output := &tail{}
	cmd.Stdout, cmd.Stderr = output, output
	err = cmd.Start()
	theirs.Close()
	if err != nil {
		return 0, diag.Errorf(diag.NoRsync, "start rsync: %w", err)
	}
	var wg sync.WaitGroup
	var relayed int64
	var nodeErr error
	wg.Go(func() { relayed, nodeErr = t.serve(ctx, ours, stage, compress) })
	err = cmd.Wait()
	ours.Close() // serve must not wait for a shell that rsync never started
	defer time.AfterFunc(nodeGrace, stop).Stop()
	wg.Wait()
	return relayed, chooseError(err, nodeErr, output)
}

// chooseError returns the error of a run, given those of the host's rsync and of the
// node's side: if the former failed, the latter is more likely to say why.
func chooseError(hostErr, nodeErr error, output *tail) error {
	var exit interface{ ExitCode() int }
	if errors.As(hostErr, &exit) && slices.Contains(partialStatuses(), exit.ExitCode()) {
		hostErr = nil
	}
	switch {
	case hostErr == nil:
		return nil
	case nodeErr != nil:
		return nodeErr
	}
	return fmt.Errorf("rsync: %w: %s", hostErr, remote.OneLine(output.text))
}

// partialStatuses returns the exit statuses of an rsync that has transferred all but
// some of the files (rsync(1), EXIT VALUES).
func partialStatuses() []int { return []int{23, 24} }

// fileList returns paths in the format of --files-from and --from0. The leading "./"
// keeps rsync from interpreting one that begins with "#", ";" or "-".
func fileList(paths []string) io.Reader {
	var b bytes.Buffer
	for _, p := range paths {
		b.WriteString("./" + p + "\x00")
	}
	return &b
}

// stageName is what the host's rsync is told to call the directory on the node. It has no
// characters that rsync would quote for a shell.
const stageName = "staged"

// args returns the arguments of the host's rsync.
//
// The files are known to have changed, so rsync compares only contents (-I), with those
// of the files in the tree, which is the parent of the directory that it writes to. The
// receiver sets modes and times.
func (t *Transfer) args(compress bool) []string {
	args := []string{
		"-I", "--no-whole-file", "--chmod=D700,F600", "--copy-dest=..", "--no-s",
		"--files-from=-", "--from0", "-e", quote(t.Self) + " rsh",
	}
	if compress {
		args = append(args, "-z")
	}
	return append(args, "./", "node:"+stageName)
}

// quote quotes a word for -e, where a doubled quote stands for itself (rsync(1), --rsh).
func quote(word string) string { return "'" + strings.ReplaceAll(word, "'", "''") + "'" }

// checkCommand returns the command to run on the node, if argv is what the host's rsync
// asks for after the options of args (its options.c, server_options).
func (t *Transfer) checkCommand(argv []string, stage string, compress bool) ([]string, error) {
	letters := `^-IRe[0-9.]*\.[A-Za-z]*$` // -e is followed by the client's capabilities
	if compress {
		letters = `^-IRze[0-9.]*\.[A-Za-z]*$`
	}
	want := []string{"node", "rsync", "--server", "", "--copy-dest", "..", ".", stageName}
	if len(argv) != len(want) || !regexp.MustCompile(letters).MatchString(argv[3]) {
		return nil, unexpectedCommand(argv)
	}
	want[3] = argv[3]
	if !slices.Equal(argv, want) {
		return nil, unexpectedCommand(argv)
	}
	return append(want[1:len(want)-1], path.Join(t.Top, stage)+"/"), nil
}

func unexpectedCommand(argv []string) error {
	return diag.Errorf(diag.NoRsync, "this machine's rsync asked the node to run an unexpected command: %s", remote.Abbreviate(argv))
}

// maxArgv bounds the encoded command that a remote shell asks for, in bytes.
const maxArgv = 4096

// serve runs the command that a remote shell asks for on the node. It returns when both
// have ended.
func (t *Transfer) serve(ctx context.Context, shell net.Conn, stage string, compress bool) (int64, error) {
	in := bufio.NewReaderSize(shell, maxArgv)
	line, err := in.ReadSlice('\n')
	if err != nil {
		return 0, fmt.Errorf("read the command from rsync's remote shell: %w", err)
	}
	var argv []string
	if err = json.Unmarshal(line, &argv); err == nil {
		argv, err = t.checkCommand(argv, stage, compress)
	} else {
		err = unexpectedCommand(nil)
	}
	if err != nil {
		shell.Close()
		return 0, err
	}
	cmd, err := t.Node.Start(ctx, argv)
	if err != nil {
		shell.Close()
		return 0, err
	}
	defer cmd.Close()
	defer context.AfterFunc(ctx, cmd.Close)()
	stderr := &tail{}
	var wg sync.WaitGroup
	wg.Go(func() { _, _ = io.Copy(stderr, cmd.Stderr) })
	relayed, err := relay(shell, in, cmd.Stdin, cmd.Stdout)
	if err != nil {
		cmd.Close() // it may be blocked on its output
	}
	if waitErr := cmd.Wait(); waitErr != nil {
		err = waitErr
	}
	cmd.Close()
	wg.Wait()
	return relayed, explainNodeExit(err, stderr)
}

// explainNodeExit explains the error with which the node's rsync ended.
func explainNodeExit(err error, stderr *tail) error {
	var exit *remote.ExitError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &exit) && (exit.Status == 126 || exit.Status == 127): // a shell's, POSIX
		return diag.Errorf(diag.NoRsync, "the node has no rsync: %s", remote.OneLine(stderr.text)).
			WithHint("install it there, if the node's image allows it: apt-get install rsync")
	}
	return fmt.Errorf("the node's rsync: %w: %s", err, remote.OneLine(stderr.text))
}

// tail keeps the last 400 bytes written to it.
type tail struct{ text []byte }

func (t *tail) Write(p []byte) (int, error) {
	const size = 400
	t.text = append(t.text, p...)
	if excess := len(t.text) - size; excess > 0 {
		t.text = append(t.text[:0], t.text[excess:]...)
	}
	return len(p), nil
}
