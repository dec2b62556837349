package node

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/kevinburke/ssh_config"

	"github.com/dapbridge/dapbridge/internal/diag"
)

// hostAlias matches the names allowed after "ssh:". None is an option, and none has a
// character that a shell interprets.
const hostAlias = `^[A-Za-z0-9_][A-Za-z0-9._:@-]*$`

// resolveAlias resolves ssh:HOST as ssh itself would, from the output of ssh -G. That
// covers Match, Include and everything else in the user's and the system's configuration.
// Without ssh, a parser reads the simple parts of the user's configuration.
func resolveAlias(alias string, o Options) (*Node, error) {
	if !regexp.MustCompile(hostAlias).MatchString(alias) {
		return nil, diag.Errorf(diag.Usage, "--node ssh:%s: %q is not a valid host name", alias, alias).
			WithHint("write it as you would for ssh: --node ssh:HOST, or --node ssh://USER@HOST:PORT")
	}
	s, err := loadSSHSettings(alias, "", o)
	if err != nil {
		return nil, diag.Errorf(diag.NodeUnknown, "--node ssh:%s: %w", alias, err).
			WithHint("correct ~/.ssh/config (try ssh %s true), or write --node ssh://USER@HOST:PORT", alias)
	}
	n, err := s.newNode(alias, o)
	if err != nil {
		return nil, diag.Errorf(diag.NodeUnknown, "--node ssh:%s: %w", alias, err).
			WithHint("correct the settings that ssh -G %s prints", alias)
	}
	return n, nil
}

// sshSettings are ssh's options for a host, each with its values in order. The keys
// are in lower case, as ssh -G prints them.
type sshSettings map[string][]string

// sshTimeout bounds ssh -G, which may run commands from the user's configuration
// (Match exec).
const sshTimeout = 10 * time.Second

// loadSSHSettings returns the settings for alias from the given configuration file, or from
// the user's and the system's if file is empty.
func loadSSHSettings(alias, file string, o Options) (sshSettings, error) {
	if o.SSH == "" {
		return readSSHConfig(alias, file, o)
	}
	args := []string{"-G", "--", alias}
	if file != "" {
		args = append([]string{"-F", file}, args...)
	}
	ctx, cancel := context.WithTimeout(context.Background(), sshTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, o.SSH, args...)
	cmd.WaitDelay = time.Second
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s -G %s: %w", filepath.Base(o.SSH), alias, commandError(err))
	}
	s := sshSettings{}
	for lines := bufio.NewScanner(bytes.NewReader(out)); lines.Scan(); {
		key, value, _ := strings.Cut(lines.Text(), " ")
		s[key] = append(s[key], value)
	}
	return s, nil
}

// readSSHConfig is loadSSHSettings for a machine without ssh. It fails on what only ssh
// understands, such as most of Match.
func readSSHConfig(alias, path string, o Options) (sshSettings, error) {
	s := sshSettings{"user": {o.User}, "hostname": {alias}, "port": {"22"}}
	for _, name := range []string{"id_ed25519", "id_ecdsa", "id_rsa"} {
		s["identityfile"] = append(s["identityfile"], "~/.ssh/"+name)
	}
	if path == "" {
		path = filepath.Join(o.Home, ".ssh", "config")
	}
	data, err := readFileLimited(path)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	var config *ssh_config.Config
	if err == nil {
		config, err = ssh_config.DecodeBytes(data)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w (ssh, which might accept it, is not installed)", path, err)
	}
	for _, key := range []string{"HostName", "User", "Port", "IdentityFile", "CertificateFile", "IdentitiesOnly", "IdentityAgent", "HostKeyAlias", "UserKnownHostsFile", "ProxyCommand", "ProxyJump"} {
		values, err := config.GetAll(alias, key)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		for i, value := range values {
			values[i] = unquote(value)
		}
		if len(values) > 0 {
			s[strings.ToLower(key)] = values
		}
	}
	return s, nil
}

// unquote removes the double quotes around a value that is a single argument (start
// of ssh_config(5)).
func unquote(value string) string {
	if inner := strings.TrimSuffix(strings.TrimPrefix(value, `"`), `"`); len(inner) == len(value)-2 && !strings.Contains(inner, `"`) {
		return inner
	}
	return value
}

func readFileLimited(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxConfig+1))
	if err == nil && len(data) > maxConfig {
		err = fmt.Errorf("larger than %d bytes", maxConfig)
	}
	return data, err
}

// value returns an option's first value, which takes precedence, or "" if it is not
// set.
func (s sshSettings) value(key string) string {
	if len(s[key]) == 0 || s[key][0] == "none" {
		return ""
	}
	return s[key][0]
}

func (s sshSettings) newNode(alias string, o Options) (*Node, error) {
	addr, host, err := s.addr()
	if err != nil {
		return nil, err
	}
	n := &Node{
		Name:         "ssh:" + alias,
		Addrs:        []string{addr},
		User:         s.value("user"),
		HostKeys:     KnownHosts,
		HostKeyAlias: s.value("hostkeyalias"),
		AgentSocket:  s.agentSocket(o),
		Remedy:       "check whether this works: ssh " + alias + " true",
	}
	if !isUserName(n.User) {
		return nil, fmt.Errorf("%q is not a valid user name", n.User)
	}
	s.setKeys(n, o)
	for _, files := range append(s["userknownhostsfile"], s["globalknownhostsfile"]...) {
		for _, file := range strings.Fields(files) {
			n.KnownHosts = append(n.KnownHosts, expandHome(file, o.Home))
		}
	}
	if n.Proxy, err = s.proxyCommand(alias, host, n.User, o); err != nil {
		return nil, err
	}
	n.Local = isLoopback(host) && n.Proxy == nil
	switch {
	case n.Local:
		n.Why = host + " is a loopback address"
	case n.Proxy != nil:
		n.Why = host + " is behind another host"
	default:
		n.Why = host + " is neither a loopback address nor a minikube profile"
	}
	return n, nil
}

// addr returns the address that ssh would connect to, and its host part.
func (s sshSettings) addr() (addr, host string, err error) {
	host = s.value("hostname")
	if a, err := netip.ParseAddr(host); err == nil {
		host = a.String()
	} else if host, err = parseHost(host, false); err != nil {
		return "", "", err
	}
	port, err := parsePort(s.value("port"))
	if err != nil {
		return "", "", err
	}
	return net.JoinHostPort(host, port), host, nil
}

func (s sshSettings) setKeys(n *Node, o Options) {
	if o.Identity != "" {
		n.Identities = []string{expandHome(o.Identity, o.Home)}
		return
	}
	n.UserKeys = true
	n.FilesOnly = s.value("identitiesonly") == "yes"
	for _, file := range s["identityfile"] {
		if file != "none" {
			n.Identities = append(n.Identities, expandHome(file, o.Home))
		}
	}
	for _, file := range s["certificatefile"] {
		n.Certificates = append(n.Certificates, expandHome(file, o.Home))
	}
}

// agentSocket returns the socket of the user's agent (ssh_config, IdentityAgent):
// "none" if no agent may be used, "" for the one in the environment.
func (s sshSettings) agentSocket(o Options) string {
	switch values := s["identityagent"]; {
	case len(values) == 0 || values[0] == "SSH_AUTH_SOCK":
		return ""
	default:
		return expandHome(values[0], o.Home)
	}
}

// proxyCommand returns the command whose standard input and output reach the host, or
// nil if the host is dialled (ssh_config, ProxyCommand and ProxyJump; the first of
// the two wins, and ssh -G prints only that one).
func (s sshSettings) proxyCommand(alias, host, user string, o Options) ([]string, error) {
	port := s.value("port")
	if jumps := s.value("proxyjump"); jumps != "" {
		return jumpCommand(jumps, net.JoinHostPort(host, port), o)
	}
	command := s.value("proxycommand")
	if command == "" {
		return nil, nil
	}
	if o.GOOS == "windows" {
		return nil, errors.New("ProxyCommand is not supported on Windows")
	}
	for _, value := range []string{host, user} {
		if !regexp.MustCompile(`^[A-Za-z0-9._:%@\\-]*$`).MatchString(value) {
			return nil, fmt.Errorf("%q is not safe in the shell command of ProxyCommand", value)
		}
	}
	expanded, err := expandTokens(command, map[byte]string{'%': "%", 'h': host, 'n': alias, 'p': port, 'r': user})
	if err != nil {
		return nil, fmt.Errorf("ProxyCommand %q: %w", command, err)
	}
	return []string{cmp.Or(o.Shell, "/bin/sh"), "-c", "exec " + expanded}, nil
}

// jumpCommand returns a command that connects through other hosts, as ssh itself does
// (main in ssh.c, where it turns a ProxyJump into a ProxyCommand).
func jumpCommand(jumps, addr string, o Options) ([]string, error) {
	if o.SSH == "" {
		return nil, errors.New("ProxyJump needs ssh, which is not installed")
	}
	argv := []string{o.SSH, "-W", addr}
	last := jumps
	if i := strings.LastIndexByte(jumps, ','); i >= 0 {
		argv = append(argv, "-J", jumps[:i])
		last = jumps[i+1:]
	}
	if !strings.HasPrefix(last, "ssh://") {
		last = "ssh://" + last
	}
	return append(argv, "--", last), nil
}

// expandTokens replaces %x by tokens[x] (ssh_config, TOKENS).
func expandTokens(text string, tokens map[byte]string) (string, error) {
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] != '%' {
			b.WriteByte(text[i])
			continue
		}
		if i++; i == len(text) {
			return "", errors.New("it ends with %")
		}
		value, ok := tokens[text[i]]
		if !ok {
			return "", fmt.Errorf("unknown token %%%c", text[i])
		}
		b.WriteString(value)
	}
	return b.String(), nil
}
