package sshconn

import (
	"context"
	"io"

	"golang.org/x/crypto/ssh/agent"

	"github.com/dapbridge/dapbridge/internal/diag"
)

// sshAgent is the user's SSH agent. It is connected when its keys are first needed,
// and stays connected until close, since it signs with them.
type sshAgent struct {
	cfg    *Config
	loaded bool
	list   []key
	conn   io.Closer // nil if not connected
	stop   func()
}

// keys returns the agent's keys: none if there is no agent.
func (a *sshAgent) keys(ctx context.Context) []key {
	if a.loaded {
		return a.list
	}
	a.loaded = true
	conn, err := dialAgent(ctx, a.cfg.AgentSocket)
	if err != nil {
		a.cfg.Log.Debug("cannot connect to the SSH agent", "err", err)
		return nil
	}
	a.conn = conn
	// An agent may ask its user for confirmation, who may be away: the wait ends when no
	// dial can still be waiting.
	ctx, cancel := context.WithTimeout(ctx, maxConnections*a.cfg.Timeout)
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	a.stop = func() { stop(); cancel() }
	// For a connection without Close the client sends one request at a time and
	// starts no goroutine.
	signers, err := agent.NewClient(struct{ io.ReadWriter }{conn}).Signers()
	if err != nil {
		a.cfg.Log.Debug("cannot list the keys of the SSH agent", "err", err)
		return nil
	}
	for _, s := range signers {
		source := "agent"
		if k, ok := s.PublicKey().(*agent.Key); ok && k.Comment != "" {
			source = "agent (" + diag.Escape(k.Comment) + ")"
		}
		a.list = append(a.list, key{s, source})
	}
	return a.list
}

func (a *sshAgent) close() {
	if a.conn != nil {
		a.stop()
		_ = a.conn.Close()
	}
}
