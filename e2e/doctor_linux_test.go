package e2e

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/dapbridge/dapbridge/e2e/internal/testbed"
	"github.com/dapbridge/dapbridge/internal/host/doctor"
)

// examine runs dapbridge doctor, checks the exit status, and returns the checks by name.
func (f *fixture) examine(t *testing.T, status int, args ...string) map[string]doctor.Check {
	t.Helper()
	cmd := f.command(t.Context(), userUID, slices.Concat([]string{"doctor", "-o", "json", "--root", f.source}, f.nodeArgs(), args)...)
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.Output()
	if exit, ok := err.(*exec.ExitError); ok && exit.ExitCode() == status || err == nil && status == 0 {
		err = nil
	} else {
		t.Errorf("dapbridge doctor: %v, want exit status %d", err, status)
	}
	var report doctor.Report
	if err := json.Unmarshal(out, &report); err != nil {
		t.Fatalf("%v\n%s\n%s", err, out, said.String())
	}
	checks := map[string]doctor.Check{}
	for _, c := range report.Checks {
		checks[c.Name] = c
	}
	return checks
}

// TestDoctor reports what is wrong with a node, its runtime and its containerd.
func TestDoctor(t *testing.T) {
	f := setupAll(t)
	f.use(t, testbed.Make)
	f.root(t, "systemctl restart containerd") // a restore leaves it on a file that was renamed
	f.checkWorks(t, "")
	pid := f.containerd(t)
	check := func(t *testing.T, c doctor.Check, status doctor.Status, says ...string) {
		t.Helper()
		for _, part := range says {
			if c.Status != status || !strings.Contains(c.Found+"\n"+c.Remedy, part) {
				t.Errorf("%+v, want %s, …%s…", c, status, part)
			}
		}
	}
	t.Run("debug build", func(t *testing.T) {
		checks := f.examine(t, 0)
		for _, c := range checks {
			if c.Status != doctor.OK {
				t.Errorf("%+v", c)
			}
		}
		check(t, checks["target"], doctor.OK, "pid "+strconv.Itoa(pid), "containerd.service", "github.com/containerd/containerd/v2")
		check(t, checks["runtime"], doctor.OK, "unix:///run/containerd/containerd.sock", "pid "+strconv.Itoa(pid))
		check(t, checks["optimised"], doctor.OK, "main package")
		check(t, checks["source"], doctor.OK, f.source)
		check(t, checks["sudo"], doctor.OK, "sudo works without a password")
	})
	t.Run("stripped and optimised", func(t *testing.T) {
		f.run(t, "stripped-d", "-ldflags=-s -w")
		checks := f.examine(t, 1, "--target", "stripped-d")
		check(t, checks["symbols"], doctor.Warning, "stripped", "have not been built", "dapbridge symbols --node")
		check(t, checks["optimised"], doctor.Warning, "very likely optimised")
		check(t, checks["source"], doctor.Warning, "--root DIR")
		check(t, checks["runtime"], doctor.Warning, "not by", "--pid "+strconv.Itoa(pid))
	})
	t.Run("fix", func(t *testing.T) {
		there := f.sample(t)
		f.install(t, there, "fixed-d")
		args := []string{"--target", "fixed-d", "--root", f.clone(t, there)}
		check(t, f.examine(t, 1, args...)["symbols"], doctor.Warning, "stripped")
		check(t, f.examine(t, 1, append(args, "--fix")...)["symbols"], doctor.OK, "have been built")
		check(t, f.examine(t, 1, args...)["symbols"], doctor.OK, "have been built")
	})
	t.Run("no target", func(t *testing.T) {
		check(t, f.examine(t, 2, "--target", "nosuchd")["target"], doctor.Failed, "no process", "dapbridge ps")
	})
	t.Run("another tracer", func(t *testing.T) {
		victim := f.run(t, "victim-d")
		tracer := f.traceByDelve(t, victim)
		check(t, f.examine(t, 2, "--target", "victim-d")["tracer"], doctor.Failed, "pid "+strconv.Itoa(tracer), delveOnNode, "end the other debugger")
	})
	t.Run("docker's endpoint", func(t *testing.T) {
		f.throughSocketUnit(t)
		checks := f.examine(t, 1)
		check(t, checks["runtime"], doctor.Warning, "unix:///var/run/cri-dockerd.sock", "systemd-socket-proxyd", "not by /usr/bin/containerd")
	})
	t.Run("no sudo", func(t *testing.T) {
		const rule = "/etc/sudoers.d/docker"
		f.root(t, "mv "+rule+" /root/docker.sudoers")
		t.Cleanup(func() { f.root(t, "mv /root/docker.sudoers "+rule) })
		checks := f.examine(t, 2)
		check(t, checks["ssh"], doctor.OK, "connected")
		check(t, checks["sudo"], doctor.Failed, "no passwordless sudo", "run as root on the node")
		check(t, checks["target"], doctor.Skipped, "skipped")
	})
	t.Run("ptrace refused", func(t *testing.T) {
		f.sudo(t, "systemd-run --quiet --pipe --wait --collect -p SystemCallFilter=~ptrace -p SystemCallErrorNumber=EPERM")
		check(t, f.examine(t, 2)["tracing"], doctor.Failed, "operation not permitted; a seccomp filter is in force")
	})
	t.Run("text", func(t *testing.T) {
		out, err := f.command(t.Context(), userUID, slices.Concat([]string{"doctor", "--root", f.source, "--target", "nosuchd"}, f.nodeArgs())...).CombinedOutput()
		if err == nil || !strings.Contains(string(out), "error  target    no process") || !strings.Contains(string(out), "skipped: tracer, symbols") {
			t.Errorf("%v\n%s", err, out)
		}
	})
	f.waitFree(t, pid, 5*time.Second)
}

// throughSocketUnit has kubelet reach its runtime as it reaches docker, by a socket unit
// with a service that forwards to containerd, until the test ends.
func (f *fixture) throughSocketUnit(t *testing.T) {
	t.Helper()
	units := filepath.Join(f.node.RootFS(), "run/systemd/system")
	for name, text := range map[string]string{
		"cri-docker.socket":  "[Socket]\nListenStream=/run/cri-dockerd.sock\n",
		"cri-docker.service": "[Service]\nExecStart=/lib/systemd/systemd-socket-proxyd /run/containerd/containerd.sock\n",
	} {
		if err := os.WriteFile(filepath.Join(units, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	const config = "/var/lib/kubelet/config.yaml"
	t.Cleanup(func() {
		f.root(t, "cp /root/kubelet.yaml "+config+"; systemctl stop cri-docker.socket cri-docker.service; rm /run/systemd/system/cri-docker.*; systemctl daemon-reload; systemctl restart kubelet")
	})
	f.root(t, "cp "+config+" /root/kubelet.yaml && sed -i 's#unix.*#unix:///var/run/cri-dockerd.sock#' "+config+
		" && systemctl daemon-reload && systemctl start cri-docker.socket && systemctl restart kubelet"+
		" && for i in $(seq 100); do systemctl -q is-active cri-docker.service && break; sleep .2; done")
	f.checkWorks(t, "")
}
