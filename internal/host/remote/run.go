package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
)

// maxOutput bounds each of the outputs that Run collects.
const maxOutput = 1 << 20

// Run runs argv to its end and returns its output, each stream up to 1 MiB (more is
// an error), and its exit status. A status other than 0 is not an error. A command
// that neither reads nor writes for the connection's idle timeout is. stdin may be
// nil; it must end by itself, and must not be used again after an error.
func Run(ctx context.Context, c Conn, argv []string, stdin io.Reader) (stdout, stderr []byte, exit int, err error) {
	cmd, err := c.Start(ctx, argv)
	if err != nil {
		return nil, nil, -1, err
	}
	defer cmd.Close()
	ctx, timer := WithIdleTimeout(ctx, c, "output from the command")
	defer timer.Stop()
	if stdin != nil {
		stdin = timer.Reader(stdin)
	}
	cmd.Stdout, cmd.Stderr = timer.Reader(cmd.Stdout), timer.Reader(cmd.Stderr)
	out, err := await(ctx, cmd, func() (output, error) { return cmd.collect(stdin) })
	if err != nil {
		return out.stdout, out.stderr, -1, fmt.Errorf("run %s on %s: %w", Abbreviate(argv), c.Name(), cmd.Cause(err))
	}
	return out.stdout, out.stderr, cmd.ExitStatus(), nil
}

type output struct{ stdout, stderr []byte }

// collect feeds stdin to the command and reads both streams to their ends.
func (cmd *Cmd) collect(stdin io.Reader) (output, error) {
	var out output
	var inErr, outErr, errErr error
	var wg sync.WaitGroup
	wg.Go(func() { inErr = cmd.feed(stdin) })
	wg.Go(func() { out.stderr, errErr = cmd.read(cmd.Stderr) })
	out.stdout, outErr = cmd.read(cmd.Stdout)
	wg.Wait()
	if err := errors.Join(inErr, outErr, errErr); err != nil {
		return out, err
	}
	var exit *ExitError
	if err := cmd.Wait(); err != nil && !errors.As(err, &exit) {
		return out, err
	}
	return out, nil
}

// feed copies r to the command's input. It is not an error if the command ends before
// it has read everything.
func (cmd *Cmd) feed(r io.Reader) error {
	if r != nil {
		if _, err := io.Copy(cmd.Stdin, r); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			cmd.Close()
			return err
		}
	}
	if err := cmd.Stdin.Close(); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}

func (cmd *Cmd) read(r io.Reader) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxOutput+1))
	if len(data) > maxOutput {
		cmd.Close()
		return data[:maxOutput], fmt.Errorf("more than %d bytes of output", maxOutput)
	}
	return data, err
}
