package dapclient

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// maxContent bounds one message. It is far above go-dap's own limit, since a bridge
// relays whatever Delve sends, however long.
const maxContent = 64 << 20

// Frame returns content as one framed message, for [Client.SendRaw].
func Frame(content []byte) []byte {
	return append(fmt.Appendf(nil, "Content-Length: %d\r\n\r\n", len(content)), content...)
}

// readFrame reads one message as specified in the "Base Protocol" section of the DAP
// specification: header lines ending in CR LF, an empty line, then Content-Length
// bytes. It returns io.EOF only between messages.
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
			return nil, violationf("header line %q is not a field", line)
		}
		if name != "Content-Length" {
			continue
		}
		n, err := strconv.ParseUint(value, 10, 31)
		if err != nil || length >= 0 || n > maxContent {
			return nil, violationf("invalid header line %q", line)
		}
		length = int(n)
	}
	if length < 0 {
		return nil, violationf("header without Content-Length")
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
