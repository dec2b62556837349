package api

import (
	"crypto/rand"
	"strconv"
	"time"
)

// SuperviseArgs returns the arguments, after the program, that start the supervisor.
// daemon identifies the daemon to other users of the node. dlv is the address of a
// running dlv to use, "" for none.
func SuperviseArgs(sel Selector, lease time.Duration, daemon, dlv string) []string {
	return []string{
		"agent", "supervise", "--protocol", strconv.Itoa(Protocol), DaemonFlag, daemon,
		"--lease", lease.String(), "--target", sel.Name, "--pid", strconv.Itoa(sel.PID), "--dlv", dlv,
	}
}

// NoSessionFlag is appended to [SuperviseArgs] by a daemon that does not want a
// session.
const NoSessionFlag = "--no-session"

// DaemonFlag precedes the daemon's name. Other agents read it from the supervisor's
// command line.
const DaemonFlag = "--daemon"

// JoinArgs returns the arguments, after the program, that hand a session's descriptors
// to the worker.
func JoinArgs(socket, token string) []string {
	return []string{"agent", "join", "--socket", socket, "--token", token}
}

// NewToken returns a name that cannot be guessed.
func NewToken() string { return rand.Text() }

// SymbolsArgs returns the arguments, after the program, that store a gzip-compressed
// debug file from standard input.
func SymbolsArgs(hash string) []string { return []string{"agent", "symbols", "--hash", hash} }

// ReceiveArgs returns the arguments, after the program, that start a receiver for the
// directory top. A readOnly one changes nothing. With force, it takes over a directory
// of another user.
func ReceiveArgs(top string, readOnly, force bool) []string {
	return []string{"agent", "receive", "--top=" + top, "--read-only=" + strconv.FormatBool(readOnly), "--force=" + strconv.FormatBool(force)}
}
