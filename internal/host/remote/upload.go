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

// uploadIdle is the idle timeout of an upload on the node, in seconds.
const uploadIdle = 60

// upload stores the agent on the node.
func upload(ctx context.Context, c Conn, b Binary, o UploadOptions) error {
	file, err := os.Open(b.Path)
	if err != nil {
		return diag.Errorf(diag.AgentMissing, "cannot read the agent: %w", err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return diag.Errorf(diag.AgentMissing, "cannot read the agent: %w", err)
	}
	argv := slices.Concat([]string{rand.Text(), b.Hash, strconv.Itoa(uploadIdle)}, o.dirs())
	cmd, err := c.Start(ctx, scriptCommand(c, uploadScript, argv))
	if err != nil {
		return err
	}
	defer cmd.Close()
	timed, timer := WithIdleTimeout(ctx, c, "progress in uploading the agent")
	defer timer.Stop()
	cmd.Stdout = timer.Reader(cmd.Stdout)
	r, err := await(timed, cmd, func() (uploadResult, error) {
		return send(cmd, timer.Reader(file), info.Size(), func() {
			o.log().Info("uploading the agent to the node", "node", c.Name(), "file", b.Path)
		}, o.Progress)
	})
	if err != nil {
		return fmt.Errorf("upload the agent to %s: %w", c.Name(), cmd.Cause(err))
	}
	if err := uploadError(c, r, cmd.ExitStatus()); err != nil {
		return err
	}
	o.log().Debug("agent stored", "node", c.Name(), "path", r.stored)
	return nil
}

// uploadResult is what the node reports about an upload.
type uploadResult struct {
	ready  bool   // the node was ready to receive
	stored string // the path of the stored file; empty if the upload failed
	stderr []byte
}

// send sends the file to uploadScript. Failures that the node reports itself are in
// the result, not in the error. started is called once the node is ready to receive.
func send(cmd *Cmd, file io.Reader, size int64, started func(), progress func(done, total int64)) (uploadResult, error) {
	var r uploadResult
	stderr := make(chan []byte, 1)
	go func() { stderr <- readBounded(cmd.Stderr) }() // ends with the command's streams
	lines := bufio.NewReader(cmd.Stdout)
	ready, err := awaitLine(lines, readyMark)
	if err != nil {
		return r, err
	}
	if r.ready = ready != ""; r.ready {
		started()
		if err := stream(cmd.Stdin, file, size, ready == "gzip", progress); err != nil && !errors.Is(err, io.EOF) {
			cmd.Close() // without an end of file: nothing is stored
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
	return "", errors.New("the login shell prints too much")
}

// stream copies r, which is size bytes long, to w.
func stream(w io.Writer, r io.Reader, size int64, compress bool, progress func(done, total int64)) error {
	if progress != nil {
		r = &progressReader{r: r, total: size, progress: progress}
	}
	if compress {
		return Compress(w, r)
	}
	buffered := bufio.NewWriterSize(w, 32<<10)
	if _, err := io.Copy(buffered, r); err != nil {
		return err
	}
	return buffered.Flush()
}

// Compress writes r to w with gzip, at its fastest level since most nodes are local. It
// writes large pieces, because each write to w becomes a packet.
func Compress(w io.Writer, r io.Reader) error {
	buffered := bufio.NewWriterSize(w, 32<<10)
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

// progressReader reports how much has been read.
type progressReader struct {
	r           io.Reader
	done, total int64
	progress    func(done, total int64)
}

func (r *progressReader) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	if n > 0 {
		r.done += int64(n)
		r.progress(r.done, r.total)
	}
	return n, err
}

// uploadError returns the error for an upload's result, or nil if the agent was
// stored.
func uploadError(c Conn, r uploadResult, exit int) error {
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
		return diag.Errorf(diag.AgentUpload, "%s has no usable directory for the agent: %s", name, text)
	case exit == exitWrite && isDiskFull(string(r.stderr)):
		return diag.Errorf(diag.AgentUpload, "the disk of %s is full: %s", name, text).
			WithHint("free space on the node: df -h /var/lib shows how much is left")
	case exit == exitDamaged:
		return diag.Errorf(diag.AgentUpload, "the agent that arrived on %s is damaged: %s", name, text).
			WithHint("try again; the file may have been replaced during the upload")
	case exit == exitNotRun:
		return diag.Errorf(diag.NodePlatform, "the agent cannot run on %s: %s", name, text)
	}
	return diag.Errorf(diag.AgentUpload, "cannot store the agent on %s: exit status %d: %s", name, exit, text)
}

func isDiskFull(text string) bool {
	return strings.Contains(text, "No space left") || strings.Contains(text, "quota exceeded")
}
