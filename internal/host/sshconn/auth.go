package sshconn

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/host/node"
	"github.com/dapbridge/dapbridge/internal/host/remote"
)

// maxKeyFile bounds how much of a key file is read.
const maxKeyFile = 1 << 20

// key is a private key to log in with.
type key struct {
	signer ssh.Signer
	source string // the file, or "agent (COMMENT)"
}

// keyring holds the keys that a Dial may offer, in order.
type keyring struct {
	keys   []key
	locked []string // default key files with a passphrase whose keys are not in the agent
	agent  sshAgent
}

// loadKeys returns the keys for a node: only those of its key files, or, if the user
// named none, the SSH agent's followed by those of the default files.
func loadKeys(ctx context.Context, cfg *Config) (*keyring, error) {
	ring := &keyring{agent: sshAgent{cfg: cfg}}
	if cfg.Node.UserKeys && !cfg.Node.FilesOnly {
		ring.keys = append(ring.keys, ring.agent.keys(ctx)...)
	}
	for _, path := range cfg.Node.Identities {
		err := ring.addFile(ctx, path)
		if err != nil && !cfg.Node.UserKeys {
			ring.close()
			return nil, err
		}
		if err != nil {
			cfg.Log.Debug("skipping a default key", "file", path, "err", err)
		}
	}
	if len(ring.keys) == 0 {
		ring.close()
		return nil, ring.refusedError(cfg.Node, 0)
	}
	ring.addCertificates(cfg)
	return ring, nil
}

// addCertificates adds, before the plain keys, a key with its certificate for each
// certificate whose key is in the ring. The certificates are those in the
// configuration and, as for ssh (sshconnect2.c, pubkey_prepare), KEYFILE-cert.pub.
func (r *keyring) addCertificates(cfg *Config) {
	files := slices.Clone(cfg.Node.Certificates)
	for _, path := range cfg.Node.Identities {
		files = append(files, path+"-cert.pub")
	}
	var certified []key
	for _, path := range files {
		data, err := readKey(path)
		if err != nil {
			continue // most keys have none
		}
		pub, _, _, _, err := ssh.ParseAuthorizedKey(data)
		cert, ok := pub.(*ssh.Certificate)
		if err != nil || !ok {
			cfg.Log.Warn("the file is not an SSH certificate", "file", path)
			continue
		}
		for _, k := range r.keys {
			if signer, err := ssh.NewCertSigner(cert, k.signer); err == nil { // it certifies this key
				certified = append(certified, key{signer, path})
				break
			}
		}
	}
	r.keys = append(certified, r.keys...)
}

func (r *keyring) close() { r.agent.close() }

// fingerprint returns the fingerprint of the first key.
func (r *keyring) fingerprint() string { return ssh.FingerprintSHA256(r.keys[0].signer.PublicKey()) }

func signers(keys []key) []ssh.Signer {
	s := make([]ssh.Signer, len(keys))
	for i, k := range keys {
		s[i] = k.signer
	}
	return s
}

// refusedError returns the error for a server that accepted none of the first offered
// keys.
func (r *keyring) refusedError(n *node.Node, offered int) error {
	var text string
	if offered == 0 {
		text = fmt.Sprintf("no private key to log in to %s with", n.Name)
	} else {
		names := make([]string, offered)
		for i, k := range r.keys[:offered] {
			names[i] = k.source + " " + ssh.FingerprintSHA256(k.signer.PublicKey())
		}
		text = fmt.Sprintf("%s accepts none of these keys for the user %s: %s", n.Name, n.User, strings.Join(names, ", "))
	}
	err := diag.Errorf(diag.KeyRefused, "%s", text)
	if len(r.locked) > 0 {
		return err.WithHint("load the key with its passphrase: %s, or name another with --identity FILE", remote.Quote([]string{"ssh-add", r.locked[0]}))
	}
	return err
}

func (r *keyring) hasKey(pub ssh.PublicKey) bool {
	for _, k := range r.keys {
		if bytes.Equal(k.signer.PublicKey().Marshal(), pub.Marshal()) {
			return true
		}
	}
	return false
}

// addFile appends the key in a file, or the same key from the agent if the file has a
// passphrase.
func (r *keyring) addFile(ctx context.Context, path string) error {
	data, err := readKey(path)
	if err != nil {
		return diag.Errorf(diag.IdentityUnusable, "cannot read the private key: %w", err)
	}
	signer, err := ssh.ParsePrivateKey(data)
	var locked *ssh.PassphraseMissingError
	switch {
	case errors.As(err, &locked):
		return r.addLocked(ctx, path, locked.PublicKey)
	case err != nil && isPublicKey(data):
		return diag.Errorf(diag.IdentityUnusable, "%s is a public key", path).
			WithHint("name the private key: --identity %s", remote.Quote([]string{strings.TrimSuffix(path, ".pub")}))
	case err != nil:
		return diag.Errorf(diag.IdentityUnusable, "%s is not a private key: %w", path, err)
	}
	if !r.hasKey(signer.PublicKey()) {
		r.keys = append(r.keys, key{signer, path})
	}
	return nil
}

// addLocked looks in the agent for a key whose file has a passphrase. With old
// formats the public half is only in a file of its own, PATH.pub.
func (r *keyring) addLocked(ctx context.Context, path string, pub ssh.PublicKey) error {
	if pub == nil {
		if data, err := readKey(path + ".pub"); err == nil {
			pub, _, _, _, _ = ssh.ParseAuthorizedKey(data)
		}
	}
	if pub != nil {
		if r.hasKey(pub) {
			return nil
		}
		for _, k := range r.agent.keys(ctx) {
			if bytes.Equal(k.signer.PublicKey().Marshal(), pub.Marshal()) {
				r.keys = append(r.keys, key{k.signer, path})
				return nil
			}
		}
	}
	r.locked = append(r.locked, path)
	return diag.Errorf(diag.IdentityUnusable, "%s has a passphrase", path).
		WithHint("load it into the SSH agent: %s", remote.Quote([]string{"ssh-add", path}))
}

func isPublicKey(data []byte) bool {
	_, _, _, _, err := ssh.ParseAuthorizedKey(data)
	return err == nil
}

func readKey(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxKeyFile+1))
	if err == nil && len(data) > maxKeyFile {
		err = fmt.Errorf("%s is larger than %d bytes", path, maxKeyFile)
	}
	return data, err
}
