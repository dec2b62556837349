//go:build linux

package testbed

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/dapbridge/dapbridge/e2e/internal/testbed/ledger"
	"github.com/dapbridge/dapbridge/e2e/internal/testbed/parts"
)

// Up brings a node up. It returns once the node accepts SSH logins, its containerd
// serves CRI calls and its kubelet is healthy. The node outlives this process. If Up
// fails or ctx ends, Up removes everything that it made, except parts in the cache. It
// fails if the name is in use.
func Up(ctx context.Context, o Options) (*Node, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	if os.Geteuid() != 0 {
		return nil, errNotRoot
	}
	unlock, err := lockNode(ctx, o.State, o.Name, o.logf)
	if err != nil {
		return nil, err
	}
	defer unlock()
	dir := filepath.Join(o.State, o.Name)
	if exists(dir) {
		return nil, fmt.Errorf("node %s is up already or was not removed completely: take it down first", o.Name)
	}
	p, err := o.buildParts(ctx)
	if err != nil {
		return nil, err
	}
	n, err := boot(ctx, o, p)
	if err != nil {
		if ctx.Err() == nil {
			err = fmt.Errorf("%w\n%s", err, consoleTail(dir))
		}
		o.logf("removing node %s again ...", o.Name)
		return nil, errors.Join(err, remove(dir))
	}
	return n, nil
}

// logf writes one line of progress.
func (o Options) logf(format string, args ...any) {
	fmt.Fprintf(o.Log, format+"\n", args...)
}

// builtParts are the directories in the cache that a node is made from.
type builtParts struct {
	rootfs, tools, kubelet, criload string
	images                          string // an archive
	containerd                      parts.Containerd
}

// buildParts builds the parts that the cache lacks. The root file system mostly waits
// for the network, so it is made while the others are compiled.
func (o Options) buildParts(ctx context.Context) (p builtParts, err error) {
	if err := installHostTools(ctx, o.logf); err != nil {
		return p, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cache := o.cache()
	var (
		wg        sync.WaitGroup
		rootfsErr error
	)
	wg.Go(func() {
		p.rootfs, rootfsErr = cache.RootFS(ctx)
		if rootfsErr != nil {
			cancel()
		}
	})
	err = o.compileParts(ctx, cache, &p)
	if err != nil {
		cancel()
	}
	wg.Wait()
	if rootfsErr != nil && !errors.Is(rootfsErr, context.Canceled) {
		return p, rootfsErr
	}
	return p, errors.Join(err, context.Cause(ctx))
}

func (o Options) compileParts(ctx context.Context, cache *parts.Cache, p *builtParts) (err error) {
	if p.containerd, err = cache.Containerd(ctx, o.Containerd); err != nil {
		return err
	}
	if p.tools, err = cache.Tools(ctx); err != nil {
		return err
	}
	if p.images, err = cache.Images(ctx); err != nil {
		return err
	}
	if !o.NoKubelet {
		if p.kubelet, err = cache.Kubelet(ctx); err != nil {
			return err
		}
	}
	p.criload, err = cache.CRILoad(ctx)
	return err
}

func (o Options) cache() *parts.Cache { return &parts.Cache{Dir: o.Cache, Logf: o.logf} }

// boot makes the node from its parts. If it fails, the ledger records what it made.
func boot(ctx context.Context, o Options, p builtParts) (*Node, error) {
	start := time.Now()
	o.logf("booting node %s ...", o.Name)
	n, led, err := newNode(o, p)
	if err != nil {
		return nil, err
	}
	l, err := makeNetwork(ctx, led, o.Name)
	if err != nil {
		return nil, fmt.Errorf("make the node's network: %w", err)
	}
	n.facts.Network = l.index
	if err := n.makeRoot(ctx, led, p); err != nil {
		return nil, fmt.Errorf("make the node's root file system: %w", err)
	}
	if err := n.writeHome(ctx); err != nil {
		return nil, fmt.Errorf("write the minikube home: %w", err)
	}
	if err := n.configure(ctx); err != nil {
		return nil, fmt.Errorf("configure the node: %w", err)
	}
	if err := n.startSystemd(ctx, led, o.SystemCallFilter); err != nil {
		return nil, fmt.Errorf("start the node: %w", err)
	}
	if err := n.waitReady(ctx, p.images); err != nil {
		return nil, fmt.Errorf("wait for the node: %w", err)
	}
	n.facts.Ready = time.Now()
	if err := n.save(); err != nil {
		return nil, err
	}
	o.logf("node %s is up at %s after %.1f s", n.Name(), n.SSHAddr(), time.Since(start).Seconds())
	return n, nil
}

// newNode makes the node's directory and opens its ledger.
func newNode(o Options, p builtParts) (*Node, *ledger.Ledger, error) {
	dir := filepath.Join(o.State, o.Name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, nil, err
	}
	led, err := ledger.Open(filepath.Join(dir, ledgerFile))
	if err != nil {
		return nil, nil, err
	}
	return &Node{dir: dir, logf: o.logf, facts: facts{
		Name: o.Name, Owner: o.Owner, Cache: o.Cache, Kubelet: !o.NoKubelet, Containerd: o.Containerd,
		BuildRoots: map[string]string{o.Containerd: p.containerd.BuildRoot},
	}}, led, nil
}
