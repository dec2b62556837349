package api

import (
	"crypto/rand"
	"strconv"
	"time"
)

// SuperviseArgs is the command line of the supervisor, after the program. daemon
// names who starts it, for other users of the node. dlv is the [Dlv] that is to be
// used, "" for none.
func SuperviseArgs(sel Selector, lease time.Duration, daemon, dlv string) []string {
	return []string{
		"agent", "supervise", "--protocol", strconv.Itoa(Protocol), DaemonFlag, daemon,
		"--lease", lease.String(), "--target", sel.Name, "--pid", strconv.Itoa(sel.PID), "--dlv", dlv,
	}
}

// ErrandFlag is added to it by a daemon that wants no session.
const NoSessionFlag = "--no-session"

// DaemonFlag is read by other agents too, in the supervisor's command line.
const DaemonFlag = "--daemon"

// JoinArgs is the command line that hands a session's descriptors to the
// worker, after the program.
func JoinArgs(socket, token string) []string {
	return []string{"agent", "join", "--socket", socket, "--token", token}
}

// NewToken returns a name that nobody can guess.
func NewToken() string { return rand.Text() }

// SymbolsArgs is the command line that stores a debug file, compressed by
// gzip, from its standard input, after the program.
func SymbolsArgs(hash string) []string { return []string{"agent", "symbols", "--hash", hash} }

// ReceiveArgs is the command line that starts a receiver for a directory on the node.
func ReceiveArgs(top string, readOnly, force bool) []string {
	return []string{"agent", "receive", "--top=" + top, "--read-only=" + strconv.FormatBool(readOnly), "--force=" + strconv.FormatBool(force)}
}
