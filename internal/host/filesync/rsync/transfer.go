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

// Transfer runs rsync. Its methods must not run at the same time.
type Transfer struct {
	// Program is the host's rsync; "" has the first Send look for it.
	Program string
	// Self is the host's path of dapbridge, which rsync runs as its remote shell.
	Self string
	Node remote.Conn
	Top  string // the tree on the node, an absolute path

	unusable error // why no Send can work
}

// Send brings the files of the host's directory dir at the paths to the node's
// directory stage, a path in the tree: each to its path below that, by its
// difference to what stands at its path in the tree, compressed for a slow line.
// bytes is what went over the line, both ways.
//
// Files that could not be read or written are missing there, or older, and that is
// no error: whoever uses them must see that they are right. An error that
// [ErrUnfit] is will come again.
func (t *Transfer) Send(ctx context.Context, dir, stage string, paths []string, slow bool) (bytes int64, err error) {
	if t.unusable == nil && t.Program == "" {
		t.Program, t.unusable = Find(ctx)
	}
	if t.unusable == nil {
		bytes, err = t.send(ctx, dir, stage, paths, slow)
	} else {
		err = t.unusable
	}
	if errors.Is(err, &diag.Error{Code: diag.NoRsync}) {
		t.unusable = err
	}
	return bytes, err
}

// nodeGrace is how long the node's rsync may go on when the host's has ended.
const nodeGrace = 10 * time.Second

func (t *Transfer) send(ctx context.Context, dir, stage string, paths []string, slow bool) (int64, error) {
	ours, theirs, err := socketpair()
	if err != nil {
		return 0, diag.Errorf(diag.NoRsync, "rsync's remote shell: %w", err)
	}
	defer ours.Close()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	cmd := procgroup.Command(ctx, t.Program, t.args(slow)...)
	cmd.Dir, cmd.Env = dir, []string{"LC_ALL=C"} // none of RSYNC_*, no HOME with a .popt
	cmd.ExtraFiles = append(cmd.ExtraFiles, theirs)
	cmd.Stdin = fileList(paths)
	said := &tail{}
	cmd.Stdout, cmd.Stderr = said, said
	err = cmd.Start()
	theirs.Close()
	if err != nil {
		return 0, diag.Errorf(diag.NoRsync, "start rsync: %w", err)
	}
	var wg sync.WaitGroup
	var passed int64
	var there error
	wg.Go(func() { passed, there = t.serve(ctx, ours, stage, slow) })
	err = cmd.Wait()
	ours.Close() // a shell that rsync never started is not waited for
	defer time.AfterFunc(nodeGrace, stop).Stop()
	wg.Wait()
	return passed, chooseError(err, there, said)
}

// chooseError says how a run ended, by how rsync did, and what is known of the node's
// side.
func chooseError(here, there error, said *tail) error {
	var exit interface{ ExitCode() int }
	if errors.As(here, &exit) && slices.Contains(partialStatuses(), exit.ExitCode()) {
		here = nil
	}
	switch {
	case here == nil:
		return nil
	case there != nil:
		return there
	}
	return fmt.Errorf("rsync: %w: %s", here, remote.OneLine(said.text))
}

// partialStatuses are the exit statuses of an rsync that has done its work but for some of
// the files (rsync(1), EXIT VALUES).
func partialStatuses() []int { return []int{23, 24} }

// fileList are paths as --files-from and --from0 have them. One that begins with "#",
// ";" or "-" is nothing but a name after "./".
func fileList(paths []string) io.Reader {
	var b bytes.Buffer
	for _, p := range paths {
		b.WriteString("./" + p + "\x00")
	}
	return &b
}

// stageName is what rsync knows of the directory on the node. It has nothing in
// it that rsync would quote for a shell.
const stageName = "staged"

// args are the words after the host's rsync.
//
// Whether a file has changed is known already, so that rsync compares contents
// alone (-I), with what stands in the tree, which is above the directory that it
// writes to. Modes and times the receiver gives.
func (t *Transfer) args(slow bool) []string {
	args := []string{
		"-I", "--no-whole-file", "--chmod=D700,F600", "--copy-dest=..", "--no-s",
		"--files-from=-", "--from0", "-e", quote(t.Self) + " rsh",
	}
	if slow {
		args = append(args, "-z")
	}
	return append(args, "./", "node:"+stageName)
}

// quote is a word of -e, where a quote stands for itself by being doubled
// (rsync(1), --rsh).
func quote(word string) string { return "'" + strings.ReplaceAll(word, "'", "''") + "'" }

// checkCommand returns what is run on the node, if argv is what the host's rsync says
// after the options of args (its options.c, server_options).
func (t *Transfer) checkCommand(argv []string, stage string, slow bool) ([]string, error) {
	letters := `^-IRe[0-9.]*\.[A-Za-z]*$` // -e is followed by what the client can do
	if slow {
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
	return diag.Errorf(diag.NoRsync, "this machine's rsync asks the node for another command than was expected: %s", remote.Abbreviate(argv))
}

// maxArgv bounds what a remote shell says of the command that it is to run.
const maxArgv = 4096

// serve runs the command that a remote shell asks for, and returns when both have
// ended.
func (t *Transfer) serve(ctx context.Context, shell net.Conn, stage string, slow bool) (int64, error) {
	in := bufio.NewReaderSize(shell, maxArgv)
	line, err := in.ReadSlice('\n')
	if err != nil {
		return 0, fmt.Errorf("rsync's remote shell said nothing: %w", err)
	}
	var argv []string
	if err = json.Unmarshal(line, &argv); err == nil {
		argv, err = t.checkCommand(argv, stage, slow)
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
	said := &tail{}
	var wg sync.WaitGroup
	wg.Go(func() { _, _ = io.Copy(said, cmd.Stderr) })
	passed, err := relay(shell, in, cmd.Stdin, cmd.Stdout)
	if err != nil {
		cmd.Close() // it may wait for a reader
	}
	if ended := cmd.Wait(); ended != nil {
		err = ended
	}
	cmd.Close()
	wg.Wait()
	return passed, explainNodeExit(err, said)
}

// explainNodeExit says how rsync on the node ended.
func explainNodeExit(err error, said *tail) error {
	var exit *remote.ExitError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &exit) && (exit.Status == 126 || exit.Status == 127): // a shell's, POSIX
		return diag.Errorf(diag.NoRsync, "the node has no rsync: %s", remote.OneLine(said.text)).
			WithHint("install it there (apt-get install rsync), if its image lets you")
	}
	return fmt.Errorf("rsync on the node: %w: %s", err, remote.OneLine(said.text))
}

// tail keeps the last that was written to it.
type tail struct{ text []byte }

func (t *tail) Write(p []byte) (int, error) {
	const most = 400
	t.text = append(t.text, p...)
	if over := len(t.text) - most; over > 0 {
		t.text = append(t.text[:0], t.text[over:]...)
	}
	return len(p), nil
}
