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

// maxPinFile bounds the size of the pin file. A line has at most 1 KiB.
const maxPinFile = 4 << 20

// pins checks against keys that were stored on first use, one per line:
//
//	NAME ADDRESS IDENTITY TYPE KEY
//
// IDENTITY is the fingerprint of the key that we log in with. minikube generates it
// together with the machine, so a machine that was deleted and recreated is a
// different one here, and its new host key is not an error.
//
// Lines are only ever appended, each by a single write in append mode. The first line
// for a machine wins, or the last one if its key may change. So several daemons need no
// lock, and an incomplete write is a malformed line, which is ignored.
type pins struct {
	file     string
	name     string
	identity string
	repin    bool // accept a changed key, with a warning
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
		return nil, diag.Errorf(diag.HostKeyUnknown, "cannot read the pinned host keys: %w", err).
			WithHint("make %s readable, or move it away to pin the keys again", p.file)
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
	if p.repin { // the known type first, or the key would appear to change
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

// isDifferent reports whether p is a pin of a key other than key.
func (p *pin) isDifferent(key ssh.PublicKey) bool {
	return p != nil && !slices.Equal(p.key.Marshal(), key.Marshal())
}

// accept pins the key. This happens only after a successful login, since an address
// may temporarily belong to another container.
func (p *pins) accept(addr string, key ssh.PublicKey) error {
	found, err := p.find(addr)
	if err != nil {
		return err
	}
	if found.isDifferent(key) && p.repin {
		p.log.Warn("the node's host key has changed; accepting the new one from now on",
			"node", p.name, "addr", addr, "before", describe(found.key), "now", describe(key))
	}
	if found == nil || found.isDifferent(key) && p.repin {
		if err := p.add(addr, key); err != nil {
			return diag.Errorf(diag.WriteFailed, "cannot store the host key of %s: %w", p.name, err)
		}
	}
	return p.check(addr, nil, key) // another daemon may have pinned a key first
}

func (p *pins) add(addr string, key ssh.PublicKey) error {
	if err := os.MkdirAll(filepath.Dir(p.file), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(p.file, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	// The leading newline ends a line that was written incompletely.
	line := fmt.Sprintf("\n%s %s %s %s %s\n", p.name, addr, p.identity, key.Type(), base64.StdEncoding.EncodeToString(key.Marshal()))
	_, err = f.WriteString(line)
	return errors.Join(err, f.Close())
}

func (p *pins) changedError(addr string, found *pin, shown string) error {
	return diag.Errorf(diag.HostKeyChanged, "the host key of %s (%s) has changed: the node has %s, pinned is %s (%s:%d)",
		p.name, addr, shown, describe(found.key), p.file, found.line).
		WithHint("if the node was recreated, remove line %d of %s; otherwise somebody may be intercepting the connection", found.line, p.file)
}

func (p *pins) missingError(addr string, err *ssh.AlgorithmNegotiationError) error {
	found, _ := p.find(addr)
	if found == nil || !slices.Equal(err.SupportedAlgorithms, p.algorithms(addr)) {
		return nil
	}
	return p.changedError(addr, found, "only "+strings.Join(err.RequestedAlgorithms, ", "))
}
