// Docker is the client of the fake container engine: it sends its arguments and its
// standard input to the engine, whose socket is in the same directory, and writes the
// outputs that it receives.
package main

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
)

func main() {
	status, err := run(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "fake docker:", err)
		os.Exit(125)
	}
	os.Exit(status)
}

func run(argv []string) (status int, err error) {
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	conn, err := net.Dial("unix", filepath.Join(filepath.Dir(self), "engine.sock"))
	if err != nil {
		return 0, err
	}
	line, err := json.Marshal(argv)
	if err != nil {
		return 0, err
	}
	if _, err := conn.Write(append(line, '\n')); err != nil {
		return 0, err
	}
	go func() {
		io.Copy(conn, os.Stdin)
		conn.(*net.UnixConn).CloseWrite()
	}()
	for {
		var head [5]byte
		if _, err := io.ReadFull(conn, head[:]); err != nil {
			return 0, err
		}
		n := binary.BigEndian.Uint32(head[1:])
		switch head[0] {
		case 0:
			return int(n), nil
		case 1:
			_, err = io.CopyN(os.Stdout, conn, int64(n))
		default:
			_, err = io.CopyN(os.Stderr, conn, int64(n))
		}
		if err != nil {
			return 0, err
		}
	}
}
