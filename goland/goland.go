// Package goland writes the run configuration with which GoLand starts a session, of
// the type Go Remote, to .run/dapbridge.run.xml.
package goland

import (
	"bytes"
	"crypto/rand"
	"encoding/xml"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/dapbridge/dapbridge/internal/diag"
)

// GoLand finds the file by its folder and extension. Only dapbridge writes to it.
const (
	folder = ".run"
	file   = folder + "/dapbridge.run.xml"
)

// Remote is a run configuration of the type Go Remote.
type Remote struct {
	Name string // as the IDE shows it
	Host string // where dapbridge listens
	Port int
}

// Document returns the content of the file. Its option for "On disconnect" is to leave
// the target running; dapbridge never ends the target, whatever the option says.
func (r Remote) Document() ([]byte, error) {
	if r.Name == "" || r.Host == "" || r.Port < 1 || r.Port > 65535 {
		return nil, diag.Errorf(diag.Usage, "run configuration %q: needs a name, a host and a port, got host %q port %d", r.Name, r.Host, r.Port)
	}
	var b bytes.Buffer
	fmt.Fprintln(&b, `<component name="ProjectRunConfigurationManager">`)
	fmt.Fprintf(&b, `  <configuration default="false" name="%s" type="GoRemoteDebugConfigurationType" factoryName="Go Remote" host="%s" port="%d">`+"\n",
		escapeXML(r.Name), escapeXML(r.Host), r.Port)
	fmt.Fprintln(&b, `    <option name="disconnectOption" value="LEAVE" />`)
	fmt.Fprintln(&b, `    <disconnect value="LEAVE" />`)
	fmt.Fprintln(&b, `    <method v="2" />`)
	fmt.Fprintln(&b, `  </configuration>`)
	fmt.Fprintln(&b, `</component>`)
	return b.Bytes(), nil
}

func escapeXML(s string) string {
	var b bytes.Buffer
	xml.EscapeText(&b, []byte(s)) // cannot fail, since it writes to a buffer
	return b.String()
}

// Write writes r to dir/.run/dapbridge.run.xml and reports whether the file changed.
// It replaces the file atomically. It refuses a link that leads out of dir, since the
// project is untrusted.
func Write(dir string, r Remote) (path string, changed bool, err error) {
	text, err := r.Document()
	if err != nil {
		return "", false, err
	}
	path = filepath.Join(dir, filepath.FromSlash(file))
	if changed, err = write(dir, text); err != nil {
		err = diag.Errorf(diag.WriteFailed, "write %s: %w", path, err)
	}
	return path, changed, err
}

func write(dir string, text []byte) (changed bool, err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return false, err
	}
	defer root.Close()
	switch info, err := root.Lstat(file); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return false, err
	case !info.Mode().IsRegular():
		return false, errors.New("not a regular file")
	default:
		if old, err := root.ReadFile(file); err != nil || bytes.Equal(old, text) {
			return false, err
		}
	}
	if err := root.MkdirAll(folder, 0o755); err != nil {
		return false, err
	}
	temp := folder + "/.dapbridge." + rand.Text()
	if err := root.WriteFile(temp, text, 0o644); err != nil {
		return false, errors.Join(err, root.Remove(temp))
	}
	if err := root.Rename(temp, file); err != nil {
		return false, errors.Join(err, root.Remove(temp))
	}
	return true, nil
}
