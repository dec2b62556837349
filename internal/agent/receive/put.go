package receive

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"time"

	"github.com/dapbridge/dapbridge/internal/api/frame"
	"github.com/dapbridge/dapbridge/internal/api/tree"
)

// put puts e at its path, where the host expects another entry.
func (s *server) put(e, expected tree.Entry) error {
	var temp string
	var err error
	if e.Kind == tree.File {
		var connErr error
		if temp, err, connErr = s.receive(e); connErr != nil {
			return connErr
		}
	}
	return s.finishPut(e, expected, temp, err)
}

// finishPut puts e at its path, unless err is set, and answers. A file's content is in
// temp, which it removes.
func (s *server) finishPut(e, expected tree.Entry, temp string, err error) error {
	kept := ""
	if err == nil {
		kept, err = s.place(e, expected, temp)
	}
	now := tree.Entry{Path: e.Path}
	if err == nil {
		now, err = s.lstat(e.Path)
	} else if temp != "" {
		_ = s.root.Remove(temp)
	}
	return s.sendAnswer(now, kept, err)
}

// setTime sets a file's modification time.
func (s *server) setTime(p string, mtime int64) error {
	at := time.Unix(0, mtime)
	if s.dir == nil || s.dirPath != parentOf(p) {
		return s.root.Chtimes(p, at, at)
	}
	return s.dir.Chtimes(path.Base(p), at, at)
}

// lstat describes what is at a path.
func (s *server) lstat(p string) (tree.Entry, error) {
	if s.dir == nil || s.dirPath != parentOf(p) {
		return tree.Lstat(s.root, p)
	}
	e, err := tree.Lstat(s.dir, path.Base(p))
	e.Path = p
	return e, err
}

// receive writes a file's data, which follows the request, to a temporary file beside
// it, and returns its name. If that fails, it returns fileErr, but still reads the data
// to its end. connErr is an error of the connection.
func (s *server) receive(e tree.Entry) (temp string, fileErr, connErr error) {
	f, temp, fileErr := s.createTemporary(e.Path)
	if fileErr == nil {
		defer f.Close()
	}
	hash := sha256.New()
	unreported := 0 // bytes
	for size, ended := int64(0), false; !ended; {
		kind, body, err := frame.ReadFrame(s.in, &s.buf)
		var piece []byte
		if err == nil && kind == frame.KindEnd {
			ended = true
			sum := body.ReadText(sha256.Size)
			err = body.Finish()
			switch {
			case fileErr != nil:
			case sum == "":
				fileErr = errors.New("it changed while it was being sent")
			case size != e.Size || sum != string(hash.Sum(nil)):
				fileErr = errors.New("it was damaged in transit")
			}
		} else if err == nil && kind == frame.KindPacked { // even if the file failed: the following pieces refer to this one
			piece, err = s.unpack.Next(body)
		} else if err == nil && kind == frame.KindData {
			piece = body.Rest()
		} else if err == nil {
			err = fmt.Errorf("%w: expected data, got %q", frame.ErrMalformed, kind)
		}
		if err == nil && !ended {
			unreported, err = s.reportReceived(unreported + len(piece))
		}
		if err != nil {
			if temp != "" {
				_ = s.root.Remove(temp)
			}
			return "", nil, err
		}
		if ended || fileErr != nil {
			continue
		}
		if size += int64(len(piece)); size > e.Size {
			fileErr = errors.New("it is longer than announced")
			continue
		}
		hash.Write(piece)
		_, fileErr = f.Write(piece)
	}
	if fileErr == nil {
		fileErr = f.Chmod(os.FileMode(e.Perm))
	}
	if fileErr == nil {
		fileErr = s.setTime(temp, e.MTime)
	}
	return temp, fileErr, nil
}

// reportReceived reports how many bytes of a file have arrived, if enough have, and
// returns the number not reported yet.
func (s *server) reportReceived(n int) (rest int, err error) {
	if n < frame.ReceivedEvery {
		return n, nil
	}
	s.out.AppendNumber(uint64(n))
	return 0, s.out.Send(frame.KindReceived)
}

// hashFile returns the SHA-256 of a file's content.
func (s *server) hashFile(p string) ([]byte, error) {
	info, err := s.root.Lstat(p)
	if err == nil && !info.Mode().IsRegular() {
		err = &fs.PathError{Op: "read", Path: p, Err: errors.New("not a regular file")}
	}
	if err != nil {
		return nil, err
	}
	f, err := s.root.Open(p)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	hash := sha256.New()
	if _, err := io.Copy(hash, f); err != nil {
		return nil, err
	}
	return hash.Sum(nil), nil
}
