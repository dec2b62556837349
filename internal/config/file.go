package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
)

// maxFile bounds what is read of a configuration; real ones have a few lines. The
// YAML reader takes 4 s for a megabyte of short lines.
const maxFile = 64 << 10

// file is what has been read: info describes the very bytes of text.
type file struct {
	text []byte
	info fs.FileInfo
}

// read returns a regular file's content, of at most limit bytes.
func read(path string, limit int64) (file, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a pipe must not hold us up
	if err != nil {
		return file{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return file{}, err
	}
	if !info.Mode().IsRegular() {
		return file{}, errors.New("it is no regular file")
	}
	text, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(text)) > limit {
		err = fmt.Errorf("it is larger than %d bytes", limit)
	}
	return file{text, info}, err
}
