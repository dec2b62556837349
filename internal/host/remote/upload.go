package remote

import (
	"bufio"
	"compress/gzip"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/dapbridge/dapbridge/internal/diag"
)

// uploadIdle is after how many seconds without a byte the node gives an upload
// up.
const uploadIdle = 60

// upload puts the agent on the node.
func upload(ctx context.Context, c Conn, b Binary, d UploadOptions) error {
	nodeOS, nodeArch, err := Platform(ctx, c)
	if err != nil {
		return err
	}
	if nodeOS != b.OS || nodeArch != b.Arch {
		return diag.Errorf(diag.NodePlatform, "%s is %s/%s, the agent %s is for %s/%s", c.Name(), nodeOS, nodeArch, b.Path, b.OS, b.Arch)
	}
	file, err := os.Open(b.Path)
	if err != nil {
		return diag.Errorf(diag.AgentMissing, "the agent can't be read: %w", err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return diag.Errorf(diag.AgentMissing, "the agent can't be read: %w", err)
	}
	argv := slices.Concat([]string{rand.Text(), b.Hash, strconv.Itoa(uploadIdle)}, d.dirs())
	cmd, err := c.Start(ctx, script(c, uploadScript, argv))
	if err != nil {
		return err
	}
	defer cmd.Close()
	timed, timer := WithIdleTimeout(ctx, c, "progress in uploading the agent")
	defer timer.Stop()
	cmd.Stdout = timer.Reader(cmd.Stdout)
	r, err := await(timed, cmd, func() (receipt, error) { return send(cmd, timer.Reader(file), info.Size(), d.Progress) })
	if err != nil {
		return fmt.Errorf("copy the agent to %s: %w", c.Name(), cmd.Cause(err))
	}
	if err := uploadError(c, r, cmd.ExitStatus()); err != nil {
		return err
	}
	d.log().Debug("agent stored", "node", c.Name(), "path", r.stored)
	return nil
}

// receipt is what the node says about an upload.
type receipt struct {
	ready  bool
	stored string // the path, if all went well
	stderr []byte
}

// send talks to uploadScript. An error that the node has an explanation for is
// not returned.
func send(cmd *Cmd, file io.Reader, size int64, progress func(done, total int64)) (receipt, error) {
	var r receipt
	stderr := make(chan []byte, 1)
	go func() { stderr <- readBounded(cmd.Stderr) }() // ends with the channel, which may not be soon
	lines := bufio.NewReader(cmd.Stdout)
	ready, err := awaitLine(lines, readyMark)
	if err != nil {
		return r, err
	}
	if r.ready = ready != ""; r.ready {
		if err := stream(cmd.Stdin, file, size, ready == "gzip", progress); err != nil && !errors.Is(err, io.EOF) {
			cmd.Close() // without an end of file, so that nothing is stored
			return r, err
		}
	}
	if err := cmd.Stdin.Close(); err != nil && !errors.Is(err, io.EOF) {
		return r, err
	}
	if r.stored, err = awaitLine(lines, storedMark); err != nil {
		return r, err
	}
	r.stderr = <-stderr
	var exit *ExitError
	if err := cmd.Wait(); err != nil && !errors.As(err, &exit) {
		return r, err
	}
	return r, nil
}

// awaitLine returns what follows mark in the first line that begins with it, or
// an empty string at the end of the output.
func awaitLine(r *bufio.Reader, mark string) (string, error) {
	for range 1000 {
		line, err := r.ReadSlice('\n')
		if rest, ok := strings.CutPrefix(string(line), mark); ok && err == nil {
			return strings.TrimSuffix(rest, "\n"), nil
		}
		if err == io.EOF {
			return "", nil
		}
		if err != nil {
			return "", err
		}
	}
	return "", errors.New("the login shell writes too much of its own")
}

// stream copies r, of that size, to w, compressed lightly: the line is a local
// one.
func stream(w io.Writer, r io.Reader, size int64, compress bool, progress func(done, total int64)) error {
	if progress != nil {
		r = &meter{r: r, total: size, progress: progress}
	}
	buffered := bufio.NewWriterSize(w, 32<<10)
	if !compress {
		if _, err := io.Copy(buffered, r); err != nil {
			return err
		}
		return buffered.Flush()
	}
	gz, err := gzip.NewWriterLevel(buffered, gzip.BestSpeed)
	if err != nil {
		return err
	}
	if _, err := io.Copy(gz, r); err != nil {
		return err
	}
	if err := gz.Close(); err != nil {
		return err
	}
	return buffered.Flush()
}

// meter reports what is read.
type meter struct {
	r           io.Reader
	done, total int64
	progress    func(done, total int64)
}

func (m *meter) Read(p []byte) (int, error) {
	n, err := m.r.Read(p)
	if n > 0 {
		m.done += int64(n)
		m.progress(m.done, m.total)
	}
	return n, err
}

// uploadError says what an upload's end means.
func uploadError(c Conn, r receipt, exit int) error {
	name, text := c.Name(), OneLine(r.stderr)
	if !r.ready && exit < exitNoDir {
		if err := c.ExplainRefusal(r.stderr); err != nil {
			return err
		}
	}
	switch {
	case exit == 0 && r.stored != "":
		return nil
	case exit == exitNoDir:
		return diag.Errorf(diag.AgentUpload, "%s has no directory for the agent: %s", name, text)
	case exit == exitWrite && isFull(string(r.stderr)):
		return diag.Errorf(diag.AgentUpload, "the disk of %s is full: %s", name, text).
			WithHint("make room on the node: df -h /var/lib shows how much there is")
	case exit == exitDamaged:
		return diag.Errorf(diag.AgentUpload, "the agent did not arrive on %s as it was sent: %s", name, text).
			WithHint("try again; the file may have been replaced while it was sent")
	case exit == exitNotRun:
		return diag.Errorf(diag.NodePlatform, "the agent does not run on %s: %s", name, text)
	}
	return diag.Errorf(diag.AgentUpload, "the agent could not be stored on %s: exit status %d: %s", name, exit, text)
}

func isFull(text string) bool {
	return strings.Contains(text, "No space left") || strings.Contains(text, "quota exceeded")
}
