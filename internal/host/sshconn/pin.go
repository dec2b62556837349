package sshconn

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/host/node"
)

// maxPinFile bounds the file of pins; a line has at most 1 KiB.
const maxPinFile = 4 << 20

// pins checks against keys that were stored at first sight, a line each:
//
//	NAME ADDRESS IDENTITY TYPE KEY
//
// IDENTITY is the fingerprint of our own key. minikube makes a machine's key
// pair together with the machine, so a machine that was deleted and made anew
// is another one here, and its new host key no alarm.
//
// Lines are only ever appended, each by one write in append mode, and the first
// for a machine counts, or the last where a key may change: several daemons need
// no lock, and a write that was cut short is a line that nobody understands.
type pins struct {
	file     string
	name     string
	identity string
	repin    bool // take another key than before, and say so
	log      *slog.Logger
}

type pin struct {
	key  ssh.PublicKey
	line int
}

func newPins(cfg *Config, identity string) (*pins, error) {
	if cfg.PinFile == "" {
		return nil, errors.New("no file to pin host keys in")
	}
	p := &pins{
		file: cfg.PinFile, name: cfg.Node.Name, identity: identity,
		repin: cfg.Node.HostKeys == node.Repin, log: cfg.Log,
	}
	if _, err := p.read(); err != nil {
		return nil, err
	}
	return p, nil
}

// read returns the file's lines.
func (p *pins) read() ([]string, error) {
	f, err := os.Open(p.file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var data []byte
	if err == nil {
		defer f.Close()
		data, err = io.ReadAll(io.LimitReader(f, maxPinFile+1))
	}
	if err == nil && len(data) > maxPinFile {
		err = fmt.Errorf("%s is larger than %d bytes", p.file, maxPinFile)
	}
	if err != nil {
		return nil, diag.Errorf(diag.HostKeyUnknown, "the pinned host keys can't be read: %w", err).
			WithHint("make %s readable, or move it away to pin keys anew", p.file)
	}
	return strings.Split(string(data), "\n"), nil
}

// find returns the pin for addr, or nil.
func (p *pins) find(addr string) (*pin, error) {
	lines, err := p.read()
	if err != nil {
		return nil, err
	}
	var found *pin
	for i, line := range lines {
		f := strings.Fields(line)
		if len(f) != 5 || f[0] != p.name || f[1] != addr || f[2] != p.identity {
			continue
		}
		blob, err := base64.StdEncoding.DecodeString(f[4])
		if err != nil {
			continue
		}
		if key, err := ssh.ParsePublicKey(blob); err == nil {
			found = &pin{key: key, line: i + 1}
			if !p.repin {
				break
			}
		}
	}
	return found, nil
}

func (p *pins) algorithms(addr string) []string {
	found, err := p.find(addr)
	if err != nil || found == nil {
		return allAlgorithms()
	}
	known := algorithmsFor(found.key.Type())
	if p.repin { // the known type first, or the key would seem to change
		others := slices.DeleteFunc(allAlgorithms(), func(a string) bool { return slices.Contains(known, a) })
		return append(known, others...)
	}
	return known
}

func (p *pins) check(addr string, _ net.Addr, key ssh.PublicKey) error {
	found, err := p.find(addr)
	if err != nil {
		return err
	}
	if found.isDifferent(key) && !p.repin {
		return p.changedError(addr, found, describe(key))
	}
	return nil
}

// isDifferent reports whether another key than key is pinned.
func (p *pin) isDifferent(key ssh.PublicKey) bool {
	return p != nil && !slices.Equal(p.key.Marshal(), key.Marshal())
}

// accept pins the key, only now that the node has taken our login: an
// address may for a while belong to another container.
func (p *pins) accept(addr string, key ssh.PublicKey) error {
	found, err := p.find(addr)
	if err != nil {
		return err
	}
	if found.isDifferent(key) && p.repin {
		p.log.Warn("the node shows another host key than before, which is taken from now on",
			"node", p.name, "addr", addr, "before", describe(found.key), "now", describe(key))
	}
	if found == nil || found.isDifferent(key) && p.repin {
		if err := p.add(addr, key); err != nil {
			return diag.Errorf(diag.WriteFailed, "the host key of %s can't be stored: %w", p.name, err)
		}
	}
	return p.check(addr, nil, key) // another daemon may have come first
}

func (p *pins) add(addr string, key ssh.PublicKey) error {
	if err := os.MkdirAll(filepath.Dir(p.file), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(p.file, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	// The newline before ends a line that was cut short.
	line := fmt.Sprintf("\n%s %s %s %s %s\n", p.name, addr, p.identity, key.Type(), base64.StdEncoding.EncodeToString(key.Marshal()))
	_, err = f.WriteString(line)
	return errors.Join(err, f.Close())
}

func (p *pins) changedError(addr string, found *pin, shown string) error {
	return diag.Errorf(diag.HostKeyChanged, "the host key of %s (%s) is another than before: it shows %s, pinned is %s (%s:%d)",
		p.name, addr, shown, describe(found.key), p.file, found.line).
		WithHint("if the node was made anew, remove line %d of %s; otherwise somebody may be in between", found.line, p.file)
}

func (p *pins) missingError(addr string, err *ssh.AlgorithmNegotiationError) error {
	found, _ := p.find(addr)
	if found == nil || !slices.Equal(err.SupportedAlgorithms, p.algorithms(addr)) {
		return nil
	}
	return p.changedError(addr, found, "only "+strings.Join(err.RequestedAlgorithms, ", "))
}
