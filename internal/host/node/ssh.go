package node

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"unicode"

	"github.com/dapbridge/dapbridge/internal/diag"
)

const hostName = `^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9.])?$`

// resolveSSH resolves ssh://[user@]host[:port]. All other parts of a URL are
// refused.
func resolveSSH(o Options) (*Node, error) {
	user, host, port, err := parseSSH(o.Spec)
	if err != nil {
		return nil, diag.Errorf(diag.Usage, "--node %s: %w", redact(o.Spec), err).
			WithHint("write it as ssh://[USER@]HOST[:PORT], an IPv6 address in brackets, the key with --identity FILE")
	}
	if user == "" {
		user = o.User
	}
	if user == "" {
		return nil, diag.Errorf(diag.Usage, "--node %s names no user, and $USER is empty", o.Spec).
			WithHint("write it as ssh://USER@HOST[:PORT]")
	}
	addr := net.JoinHostPort(host, port)
	n := &Node{
		Name:     "ssh://" + user + "@" + addr,
		Addrs:    []string{addr},
		User:     user,
		HostKeys: KnownHosts,
		Local:    isLoopback(host),
	}
	if n.Local {
		n.Why = host + " is a loopback address"
	} else {
		n.Why = host + " is neither a loopback address nor a minikube profile"
	}
	if o.Identity != "" {
		n.Identities = []string{expandHome(o.Identity, o.Home)}
	} else {
		n.UserKeys = true
		n.Identities = defaultIdentities(o.Home)
	}
	return n, nil
}

func parseSSH(spec string) (user, host, port string, err error) {
	u, err := url.Parse(spec)
	if err != nil {
		if ue, ok := err.(*url.Error); ok {
			err = ue.Err // without the URL, which may hold a password
		}
		return "", "", "", err
	}
	if u.User != nil {
		if _, ok := u.User.Password(); ok {
			return "", "", "", fmt.Errorf("a password is not allowed")
		}
		if user = u.User.Username(); !isUserName(user) {
			return "", "", "", fmt.Errorf("%q is not a valid user name", user)
		}
	}
	switch {
	case u.Path != "":
		return "", "", "", fmt.Errorf("a path (%q) is not allowed", u.Path)
	case u.RawQuery != "" || u.ForceQuery:
		return "", "", "", fmt.Errorf("a query is not allowed")
	case strings.Contains(spec, "#"):
		return "", "", "", fmt.Errorf("a fragment is not allowed")
	}
	if host, err = parseHost(u.Hostname(), strings.HasPrefix(u.Host, "[")); err != nil {
		return "", "", "", err
	}
	port = u.Port()
	if port == "" && !strings.HasSuffix(u.Host, ":") {
		port = "22"
	}
	if port, err = parsePort(port); err != nil {
		return "", "", "", err
	}
	return user, host, port, nil
}

func parsePort(port string) (string, error) {
	if p, err := strconv.ParseUint(port, 10, 16); err != nil || p == 0 {
		return "", fmt.Errorf("%q is not a port number", port)
	}
	return port, nil
}

// parseHost validates host and returns it in lower case, as known_hosts files spell
// it.
func parseHost(host string, bracketed bool) (string, error) {
	if a, err := netip.ParseAddr(host); err == nil && a.Is6() == bracketed {
		return a.String(), nil
	}
	if bracketed || !regexp.MustCompile(hostName).MatchString(host) || len(host) > 253 {
		return "", fmt.Errorf("%q is neither a host name nor an address", host)
	}
	return strings.ToLower(host), nil
}

func isUserName(user string) bool {
	bad := func(r rune) bool { return !unicode.IsPrint(r) || unicode.IsSpace(r) }
	return user != "" && len(user) <= 256 && user[0] != '-' && strings.IndexFunc(user, bad) < 0
}

// redact returns spec without a password, for messages.
func redact(spec string) string {
	rest := strings.TrimPrefix(spec, "ssh://")
	at := strings.LastIndexByte(rest, '@')
	if at < 0 {
		return spec
	}
	user, _, hasPassword := strings.Cut(rest[:at], ":")
	if !hasPassword {
		return spec
	}
	return "ssh://" + user + ":xxxxx" + rest[at:]
}
