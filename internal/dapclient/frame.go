package dapclient

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// maxContent bounds one message. It is far above what go-dap accepts, since a
// bridge passes what Delve sends, however long.
const maxContent = 64 << 20

// Frame returns content as one message on the wire, for [Client.SendRaw].
func Frame(content []byte) []byte {
	return append(fmt.Appendf(nil, "Content-Length: %d\r\n\r\n", len(content)), content...)
}

// readFrame reads one message as the "Base Protocol" section of the DAP
// specification writes it: header lines that end in CR LF, an empty one, then
// as many bytes as Content-Length says. It returns io.EOF only between messages.
func readFrame(r *bufio.Reader) ([]byte, error) {
	length := -1
	for first := true; ; first = false {
		line, err := r.ReadString('\n')
		if err != nil {
			if err == io.EOF && (line != "" || !first) {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
		line, ok := strings.CutSuffix(line, "\r\n")
		if !ok {
			return nil, violationf("header line %q does not end in CR LF", line)
		}
		if line == "" {
			break
		}
		name, value, ok := strings.Cut(line, ": ")
		if !ok {
			return nil, violationf("header line %q is no field", line)
		}
		if name != "Content-Length" {
			continue
		}
		n, err := strconv.ParseUint(value, 10, 31)
		if err != nil || length >= 0 || n > maxContent {
			return nil, violationf("header line %q", line)
		}
		length = int(n)
	}
	if length < 0 {
		return nil, violationf("a header without Content-Length")
	}
	content := make([]byte, length)
	if _, err := io.ReadFull(r, content); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	return content, nil
}
