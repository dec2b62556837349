package sshconn

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/host/node"
)

// maxOffers is how many keys are offered on one connection: OpenSSH's server closes
// it at the sixth that fails (MaxAuthTries). The remaining keys are offered on further
// connections, up to maxConnections.
const (
	maxOffers      = 5
	maxConnections = 3
)

// Config says how to reach a node.
type Config struct {
	Node        *node.Node
	KnownHosts  []string      // files; nil means ~/.ssh/known_hosts and /etc/ssh/ssh_known_hosts
	PinFile     string        // the file with pinned keys, for node.Pin and node.Repin
	AgentSocket string        // $SSH_AUTH_SOCK; "none" disables the agent, and so does "" (on Windows: OpenSSH's pipe)
	Log         *slog.Logger  // nil means no log
	Timeout     time.Duration // for one address, including the login; 0 means 10 s
	KeepAlive   time.Duration // silence after which the node is probed; 0 means 15 s, negative never
	IdleTimeout time.Duration // how long a node that answers probes may leave other requests unanswered; 0 means 60 s
}

func (c *Config) setDefaults() {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Timeout == 0 {
		c.Timeout = 10 * time.Second
	}
	if c.KeepAlive == 0 {
		c.KeepAlive = 15 * time.Second
	}
	if c.IdleTimeout == 0 {
		c.IdleTimeout = time.Minute
	}
	if c.KnownHosts == nil {
		c.KnownHosts = c.Node.KnownHosts
	}
	if c.Node.AgentSocket != "" {
		c.AgentSocket = c.Node.AgentSocket
	}
	if c.KnownHosts == nil {
		if home, err := os.UserHomeDir(); err == nil {
			c.KnownHosts = append(c.KnownHosts, userKnownHosts(home))
		}
		c.KnownHosts = append(c.KnownHosts, "/etc/ssh/ssh_known_hosts")
	}
}

// dialer is the state of one Dial.
type dialer struct {
	Config
	keys     *keyring
	hostKeys hostKeys
}

// Dial connects to the node and logs in. It tries the node's addresses in order, and
// continues with the next one only if nothing answers. Dial returns as soon as ctx
// ends; ctx does not affect an established connection.
func Dial(ctx context.Context, cfg Config) (*Conn, error) {
	cfg.setDefaults()
	d := &dialer{Config: cfg}
	var err error
	if d.keys, err = loadKeys(ctx, &cfg); err != nil {
		return nil, err
	}
	defer d.keys.close()
	if d.hostKeys, err = newHostKeys(&cfg, d.keys); err != nil {
		return nil, err
	}
	var tried []error
	for _, addr := range cfg.Node.Addrs {
		conn, err := d.dialAddr(ctx, addr)
		if err == nil {
			return conn, nil
		}
		if ctx.Err() != nil || diag.CodeOf(err) != diag.NodeUnreachable {
			return nil, err
		}
		cfg.Log.Debug("no answer at an SSH address", "addr", addr, "err", err)
		tried = append(tried, err)
	}
	if cfg.Node.Container != nil {
		conn, err := d.dialForwarded(ctx)
		if err == nil {
			return conn, nil
		}
		if ctx.Err() != nil || diag.CodeOf(err) != diag.NodeUnreachable {
			return nil, err
		}
		tried = append(tried, err)
	}
	return nil, unreachableError(cfg.Node, tried)
}

// IsListening reports whether something listens at one of the node's addresses. It
// takes at most a second per address.
func IsListening(n *node.Node) bool {
	addrs := n.Addrs
	if n.Container != nil {
		ctx, cancel := context.WithTimeout(context.Background(), probeTimeout)
		defer cancel()
		if addr, err := n.Container.SSHAddr(ctx); err == nil {
			addrs = append(slices.Clone(addrs), addr)
		}
	}
	for _, addr := range addrs {
		if conn, err := net.DialTimeout("tcp", addr, probeTimeout); err == nil {
			conn.Close()
			return true
		}
	}
	return false
}

const probeTimeout = time.Second

// dialForwarded connects through the port that the node's container engine forwards.
func (d *dialer) dialForwarded(ctx context.Context) (*Conn, error) {
	addr, err := d.Node.Container.SSHAddr(ctx)
	if err != nil {
		return nil, diag.Errorf(diag.NodeUnreachable, "%w", err)
	}
	return d.dialAddr(ctx, addr)
}

func unreachableError(n *node.Node, tried []error) error {
	if len(tried) == 0 {
		return diag.Errorf(diag.NodeUnreachable, "%s has no address", n.Name)
	}
	texts := make([]string, len(tried))
	for i, err := range tried {
		texts[i] = err.Error()
	}
	err := diag.Errorf(diag.NodeUnreachable, "cannot reach %s: %s", n.Name, strings.Join(texts, "; "))
	err.Err = errors.Join(tried...)
	if n.Remedy != "" {
		err = err.WithHint("%s", n.Remedy)
	}
	return err
}

// dialAddr connects to one address, several times if there are more keys than one
// connection may offer.
func (d *dialer) dialAddr(ctx context.Context, addr string) (*Conn, error) {
	rest := d.keys.keys
	for range maxConnections {
		batch := rest[:min(len(rest), maxOffers)]
		conn, err := d.connect(ctx, addr, batch)
		if err == nil || diag.CodeOf(err) != diag.KeyRefused {
			return conn, err
		}
		if rest = rest[len(batch):]; len(rest) == 0 {
			break
		}
	}
	return nil, d.keys.refusedError(d.Node, len(d.keys.keys)-len(rest))
}

// hostKeyAddr returns the address under which the host key is known (ssh_config,
// HostKeyAlias).
func (d *dialer) hostKeyAddr(addr string) string {
	if d.Node.HostKeyAlias == "" {
		return addr
	}
	return net.JoinHostPort(d.Node.HostKeyAlias, "22")
}

func (d *dialer) connect(ctx context.Context, addr string, batch []key) (*Conn, error) {
	timed, cancel := context.WithTimeout(ctx, d.Timeout)
	defer cancel()
	known := d.hostKeyAddr(addr)
	algorithms := d.hostKeys.algorithms(known)
	var verified atomic.Pointer[ssh.PublicKey]
	config := &ssh.ClientConfig{
		User:              d.Node.User,
		Auth:              []ssh.AuthMethod{ssh.PublicKeys(signers(batch)...)},
		HostKeyAlgorithms: algorithms,
		HostKeyCallback: func(_ string, remote net.Addr, key ssh.PublicKey) error {
			err := d.hostKeys.check(known, remote, key)
			if err == nil {
				verified.Store(&key)
			}
			return err
		},
	}
	w, err := d.dialConn(timed, addr)
	if err != nil {
		return nil, d.connectError(ctx, timed, addr, err, false)
	}
	stop := context.AfterFunc(timed, func() { _ = w.Close() })
	sc, chans, reqs, err := ssh.NewClientConn(w, addr, config)
	if err == nil && !stop() {
		_ = sc.Close()
		err = timed.Err()
	}
	if err != nil {
		stop()
		_ = w.Close()
		return nil, d.connectError(ctx, timed, addr, err, verified.Load() != nil)
	}
	conn := newConn(w, sc, chans, reqs, &d.Config)
	if err := d.hostKeys.accept(known, *verified.Load()); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return conn, nil
}

// dialConn connects to addr, through the node's proxy if it has one.
func (d *dialer) dialConn(ctx context.Context, addr string) (*monitoredConn, error) {
	if len(d.Node.Proxy) == 0 {
		return dialTCP(ctx, addr)
	}
	conn, err := dialProxy(d.Node.Proxy, addr)
	if err != nil {
		return nil, err
	}
	return &monitoredConn{Conn: conn}, nil
}

// dialTCP connects with TCP keep-alive, so that the kernel notices a dead peer. Go
// disables Nagle's algorithm, without which a round trip would take longer.
func dialTCP(ctx context.Context, addr string) (*monitoredConn, error) {
	d := net.Dialer{KeepAliveConfig: net.KeepAliveConfig{
		Enable:   true,
		Idle:     15 * time.Second,
		Interval: 5 * time.Second,
		Count:    3,
	}}
	c, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	return &monitoredConn{Conn: c}, nil
}

// connectError returns the error for a failed connect. verified means that the host
// key was accepted, so that the login failed.
func (d *dialer) connectError(ctx, timed context.Context, addr string, err error, verified bool) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if timed.Err() != nil {
		return diag.Errorf(diag.NodeUnreachable, "%s: no answer within %v", addr, d.Timeout)
	}
	var known *diag.Error
	if errors.As(err, &known) {
		return known
	}
	var negotiation *ssh.AlgorithmNegotiationError
	if errors.As(err, &negotiation) {
		return d.negotiationError(addr, negotiation)
	}
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return diag.Errorf(diag.NodeUnreachable, "%s: connection refused", addr)
	case isNetworkError(err):
		return diag.Errorf(diag.NodeUnreachable, "%s: %w", addr, err)
	case verified:
		return diag.Errorf(diag.KeyRefused, "%s: %w", addr, err)
	}
	return diag.Errorf(diag.NodeUnreachable, "%s: not an SSH server, or an unsupported one: %w", addr, err)
}

func isNetworkError(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) || errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed)
}

// negotiationError distinguishes a server without a host key of a known type from one
// that has no other algorithm in common with us.
func (d *dialer) negotiationError(addr string, err *ssh.AlgorithmNegotiationError) error {
	if missing := d.hostKeys.missingError(d.hostKeyAddr(addr), err); missing != nil {
		return missing
	}
	return diag.Errorf(diag.NodeUnreachable, "%s: %w", addr, err)
}
