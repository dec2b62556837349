package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
)

// maxFile bounds the size of a configuration file; real ones have a few lines. The
// YAML parser takes 4 s for a megabyte of short lines.
const maxFile = 64 << 10

// file is the content of a file; info is from the same descriptor as text.
type file struct {
	text []byte
	info fs.FileInfo
}

// readFile returns the content of a regular file of at most limit bytes.
func readFile(path string, limit int64) (file, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // so that a pipe does not block
	if err != nil {
		return file{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return file{}, err
	}
	if !info.Mode().IsRegular() {
		return file{}, errors.New("not a regular file")
	}
	text, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(text)) > limit {
		err = fmt.Errorf("larger than %d bytes", limit)
	}
	return file{text, info}, err
}
