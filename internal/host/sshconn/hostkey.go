package sshconn

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/host/node"
	"github.com/dapbridge/dapbridge/internal/host/remote"
)

// hostKeys decides which host keys are the node's. check may be called from a different
// goroutine than the other methods, but never concurrently with them.
type hostKeys interface {
	// algorithms returns the host key algorithms to request, in order of preference:
	// if a key is known, only those of known types. Otherwise a server with several
	// keys could present one that we have never seen.
	algorithms(addr string) []string
	// check returns nil for the node's key, and otherwise a *diag.Error.
	check(addr string, remote net.Addr, key ssh.PublicKey) error
	// accept is called with the key after a successful login.
	accept(addr string, key ssh.PublicKey) error
	// missingError returns an error if err means that the server has no key of a known
	// type, and nil if algorithms did not restrict the types.
	missingError(addr string, err *ssh.AlgorithmNegotiationError) error
}

func newHostKeys(cfg *Config, keys *keyring) (hostKeys, error) {
	switch cfg.Node.HostKeys {
	case node.Pin, node.Repin:
		return newPins(cfg, keys.fingerprint())
	}
	return newKnownHosts(cfg.KnownHosts, cfg.Node)
}

// algorithmsFor returns the signature algorithms for a type of key. For RSA these are
// only the secure ones.
func algorithmsFor(keyType string) []string {
	if keyType == ssh.KeyAlgoRSA {
		return []string{ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256}
	}
	return []string{keyType}
}

func certAlgorithms() []string {
	return []string{
		ssh.CertAlgoED25519v01, ssh.CertAlgoECDSA256v01, ssh.CertAlgoECDSA384v01,
		ssh.CertAlgoECDSA521v01, ssh.CertAlgoRSASHA512v01, ssh.CertAlgoRSASHA256v01,
	}
}

func allAlgorithms() []string {
	return []string{
		ssh.KeyAlgoED25519, ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384,
		ssh.KeyAlgoECDSA521, ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256,
	}
}

// describe returns a key's type and fingerprint, as ssh-keygen -l prints them.
func describe(key ssh.PublicKey) string { return key.Type() + " " + ssh.FingerprintSHA256(key) }

func userKnownHosts(home string) string { return filepath.Join(home, ".ssh", "known_hosts") }

// knownHosts checks against OpenSSH's known_hosts files.
type knownHosts struct {
	files    []string // new keys belong in the first
	node     *node.Node
	callback ssh.HostKeyCallback
}

func newKnownHosts(files []string, n *node.Node) (*knownHosts, error) {
	var present []string
	for _, f := range files {
		if info, err := os.Stat(f); err == nil && info.Mode().IsRegular() {
			present = append(present, f)
		}
	}
	callback, err := knownhosts.New(present...)
	if err != nil {
		return nil, diag.Errorf(diag.HostKeyUnknown, "cannot read the known host keys: %w", err).
			WithHint("correct or remove that file; ssh-keygen -l -f FILE shows what ssh reads from it")
	}
	return &knownHosts{files: files, node: n, callback: callback}, nil
}

// knownKeys returns all keys for addr. It checks a key that no file can contain, since
// x/crypto/ssh/knownhosts exports no other way to look keys up.
func (k *knownHosts) knownKeys(addr string) []knownhosts.KnownKey {
	var unknown *knownhosts.KeyError
	if err := k.callback(addr, noAddr{}, noKey{}); errors.As(err, &unknown) {
		return unknown.Want
	}
	return nil
}

func (k *knownHosts) algorithms(addr string) []string {
	var algorithms []string
	for _, known := range k.knownKeys(addr) {
		if isAuthority(known) {
			algorithms = append(algorithms, certAlgorithms()...)
		} else {
			algorithms = append(algorithms, algorithmsFor(known.Key.Type())...)
		}
	}
	if len(algorithms) == 0 {
		return allAlgorithms()
	}
	slices.Sort(algorithms)
	return slices.Compact(algorithms)
}

// isAuthority reports whether the key's line is marked @cert-authority. It reads the
// line again, since a KnownKey does not have the marker.
func isAuthority(known knownhosts.KnownKey) bool {
	data, err := os.ReadFile(known.Filename)
	if err != nil {
		return false
	}
	lines := strings.Split(string(data), "\n")
	return known.Line <= len(lines) && strings.HasPrefix(strings.TrimSpace(lines[known.Line-1]), "@cert-authority")
}

func (k *knownHosts) check(addr string, remote net.Addr, key ssh.PublicKey) error {
	err := k.callback(addr, remote, key)
	if err == nil {
		return nil
	}
	var revoked *knownhosts.RevokedError
	if errors.As(err, &revoked) {
		return diag.Errorf(diag.HostKeyChanged, "the host key of %s is revoked: %s in %s:%d",
			addr, describe(key), revoked.Revoked.Filename, revoked.Revoked.Line).
			WithHint("this key must not be trusted any more: ask the administrator of the node")
	}
	var mismatch *knownhosts.KeyError
	switch {
	case !errors.As(err, &mismatch):
		return diag.Errorf(diag.HostKeyUnknown, "the host certificate of %s is not valid: %w", addr, err).
			WithHint("renew the node's certificate, or store its plain key in %s", k.files[0])
	case len(mismatch.Want) == 0:
		return k.unknownError(addr, key)
	}
	return k.changedError(addr, mismatch.Want, describe(key))
}

func (k *knownHosts) unknownError(addr string, key ssh.PublicKey) error {
	host, port, _ := net.SplitHostPort(addr)
	name, _, _ := strings.Cut(strings.TrimPrefix(key.Type(), "ssh-"), "-")
	file := "~/.ssh/known_hosts"
	if len(k.files) > 0 {
		file = remote.Quote(k.files[:1])
	}
	scan := remote.Quote([]string{"ssh-keyscan", "-t", name, "-p", port, host})
	return diag.Errorf(diag.HostKeyUnknown, "the host key of %s is not known: %s", addr, describe(key)).
		WithHint("if that is the node's fingerprint, store the key: %s >> %s", scan, file)
}

func (k *knownHosts) changedError(addr string, known []knownhosts.KnownKey, shown string) error {
	lines := make([]string, len(known))
	for i, w := range known {
		lines[i] = fmt.Sprintf("%s (%s:%d)", describe(w.Key), w.Filename, w.Line)
	}
	host := knownhosts.Normalize(addr)
	return diag.Errorf(diag.HostKeyChanged, "the host key of %s has changed: the node has %s, known is %s",
		addr, shown, strings.Join(lines, ", ")).
		WithHint("if the node was recreated, remove the old key: ssh-keygen -f %s -R %s; otherwise somebody may be intercepting the connection",
			remote.Quote([]string{known[0].Filename}), remote.Quote([]string{host}))
}

func (k *knownHosts) accept(string, ssh.PublicKey) error { return nil }

func (k *knownHosts) missingError(addr string, err *ssh.AlgorithmNegotiationError) error {
	known := k.knownKeys(addr)
	if len(known) == 0 || !slices.Equal(err.SupportedAlgorithms, k.algorithms(addr)) {
		return nil
	}
	return k.changedError(addr, known, "only "+strings.Join(err.RequestedAlgorithms, ", "))
}

// noAddr and noKey are the arguments of knownKeys' check.
type noAddr struct{}

func (noAddr) Network() string { return "tcp" }
func (noAddr) String() string  { return "0.0.0.0:0" }

type noKey struct{}

func (noKey) Type() string                        { return "none" }
func (noKey) Marshal() []byte                     { return nil }
func (noKey) Verify([]byte, *ssh.Signature) error { return errors.New("no key") }
