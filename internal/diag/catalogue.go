package diag

// Code names one kind of failure. Codes are stable: scripts may match them in
// JSON output.
type Code string

// The codes, grouped by exit status.
const (
	Internal Code = "internal" // a bug, or a failure that nobody has named yet

	Usage           Code = "usage"            // flags, arguments or variables that make no sense
	ConfigInvalid   Code = "config-invalid"   // a configuration file that makes no sense
	ConfigUntrusted Code = "config-untrusted" // one that says what it may not, or that others may write
	SyncRefused     Code = "sync-refused"     // a directory on the node that is not to be written to

	NodeUnknown      Code = "node-unknown"      // --node names nothing that we know
	NodeNotLocal     Code = "node-not-local"    // a node that may be shared or in production
	NodeUnreachable  Code = "node-unreachable"  // no TCP connection, or it broke
	HostKeyUnknown   Code = "host-key-unknown"  // the node's key is in no known_hosts
	HostKeyChanged   Code = "host-key-changed"  // the node's key is another than before
	KeyRefused       Code = "key-refused"       // the node accepts none of our keys
	IdentityUnusable Code = "identity-unusable" // --identity can't be read or decrypted
	NoSudo           Code = "no-sudo"           // no passwordless sudo on the node
	AgentMissing     Code = "agent-missing"     // no agent binary for the node's platform
	AgentUpload      Code = "agent-upload"      // the agent could not be put on the node
	AgentProtocol    Code = "agent-protocol"    // the agent speaks another version, or nonsense
	NodePlatform     Code = "node-platform"     // the node is not a Linux that we can trace on
	LinkLost         Code = "link-lost"         // the connection to the agent ended
	NodeSilent       Code = "node-silent"       // it is connected and does not answer
	SyncBusy         Code = "sync-busy"         // another sync writes to it
	SyncFailed       Code = "sync-failed"       // some of it could not be copied

	TargetNone     Code = "target-none"     // no process of that name
	TargetSeveral  Code = "target-several"  // more than one
	TargetStripped Code = "target-stripped" // no debug information
	TwinRefused    Code = "twin-refused"    // a stripped target can't be built again
	TwinBuild      Code = "twin-build"      // building it again failed
	TwinDiffers    Code = "twin-differs"    // what was built is another program
	TargetNotGo    Code = "target-not-go"   // not a Go program
	TargetTraced   Code = "target-traced"   // another debugger is attached
	TargetBusy     Code = "target-busy"     // another dapbridge debugs it
	TargetGone     Code = "target-gone"     // it ended while we looked at it
	PtraceRefused  Code = "ptrace-refused"  // the kernel says no
	AttachFailed   Code = "attach-failed"   // Delve could not attach
	DetachFailed   Code = "detach-failed"   // the target could not be let go in time
	DlvUnusable    Code = "dlv-unusable"    // --dlv-addr names no dlv that can be used
	SourceMissing  Code = "source-missing"  // a source file that neither host nor node has
	TargetNoUnit   Code = "target-no-unit"  // no systemd service runs it
	JournalFailed  Code = "journal-failed"  // its journal can't be read

	DeployRefused Code = "deploy-refused" // the target can't be swapped for another build
	DeploySpace   Code = "deploy-space"   // no room on the node
	DeployShip    Code = "deploy-ship"    // the build did not get to the node
	DeployFailed  Code = "deploy-failed"  // the new build does not serve; the former one does
	DeployStuck   Code = "deploy-stuck"   // neither does
	DeployBuild   Code = "deploy-build"   // the build failed
	DeploySource  Code = "deploy-source"  // the directory is not the target's source
	RestoreFailed Code = "restore-failed" // not all could be put back

	ListenFailed  Code = "listen-failed"  // the local port is taken or forbidden
	SessionBusy   Code = "session-busy"   // another IDE has the session
	WriteFailed   Code = "write-failed"   // a local file could not be written
	WatchFailed   Code = "watch-failed"   // changes of files can't be watched
	NoRsync       Code = "no-rsync"       // none that differences could be sent by
	LaunchInvalid Code = "launch-invalid" // an existing launch.json is no JSON with comments
	DirUnsafe     Code = "dir-unsafe"     // a directory of ours that others may have written to
	DaemonSilent  Code = "daemon-silent"  // a dapbridge serve of this user's does not answer
	Unsupported   Code = "unsupported"    // not on this platform
)

// Entry is one line of the catalogue.
type Entry struct {
	Code Code
	Exit int    // the process's exit status
	Hint string // the general remedy; an Error may carry a more specific one
}

// Catalogue lists every code once; [Explain] says when it comes up. Exit
// statuses: 1 unexpected, 2 usage and configuration, 3 the node, 4 the target, 5
// the host.
func Catalogue() []Entry {
	return []Entry{
		{Internal, 1, "this is likely a bug in dapbridge: run again with --log-level debug and report what it prints"},
		{Usage, 2, "see dapbridge --help"},
		{ConfigInvalid, 2, "correct the file: docs/config.md lists the keys"},
		{ConfigUntrusted, 2, "read the file, then run dapbridge trust on it, or write the setting into your own configuration"},
		{SyncRefused, 2, "name another directory of the node's with --to; with --force too, if it is this one that you mean"},

		{NodeUnknown, 3, "name the node as minikube[:PROFILE] or ssh://USER@HOST[:PORT]"},
		{NodeNotLocal, 3, "dapbridge is for toy clusters: stopping containerd stops every pod's start on that node; if it is one, name its host under local-nodes in your configuration, or add --allow-non-local"},
		{NodeUnreachable, 3, "check that the node runs (minikube status) and that its SSH port can be reached"},
		{HostKeyUnknown, 3, "connect once with ssh to check and store the key, then try again"},
		{HostKeyChanged, 3, "if the node was made anew, remove its old line from the file named above; otherwise somebody may be in between"},
		{KeyRefused, 3, "name the private key with --identity FILE, or load it with ssh-add"},
		{IdentityUnusable, 3, "check the path and that you may read it; load a key with a passphrase by ssh-add"},
		{NoSudo, 3, "give the SSH user passwordless sudo on the node: echo 'USER ALL=(ALL) NOPASSWD:ALL' | sudo tee /etc/sudoers.d/dapbridge"},
		{AgentMissing, 3, "put the release's dapbridge-linux-ARCH file beside this program, or install Go so that it can be built"},
		{AgentUpload, 3, "check free space and noexec mounts under /var/lib on the node"},
		{AgentProtocol, 3, "install the same release of dapbridge again; an older agent is replaced by itself"},
		{NodePlatform, 3, "targets can be debugged on linux/amd64 and linux/arm64 nodes"},
		{NodeSilent, 3, "log in with ssh and see whether the node is overloaded, or its login shell waits for something"},
		{LinkLost, 3, "run it again when the node can be reached; what was debugged there is let go by itself"},
		{SyncBusy, 3, "end the other dapbridge sync first"},
		{SyncFailed, 3, "see what it says of each file, and run dapbridge sync again"},

		{TargetNone, 4, "list the candidates with dapbridge ps, then name one with --target NAME or --pid PID"},
		{TargetSeveral, 4, "choose one with --pid PID"},
		{TargetStripped, 4, "run dapbridge symbols in the directory of its source, with the same flags: it builds the symbols and leaves the node as it is"},
		{TwinRefused, 4, "run a build with debug information on the node (containerd: make GODEBUG=1 bin/containerd)"},
		{TwinBuild, 5, "see what the Go toolchain says above; dapbridge symbols --print shows the build as a shell command"},
		{TwinDiffers, 4, "name the directory of the very source that the target was built from; dapbridge symbols --print shows how it was built"},
		{TargetNotGo, 4, "only Go programs can be debugged; list the candidates with dapbridge ps"},
		{TargetTraced, 4, "end the other debugger first"},
		{TargetBusy, 4, "end the other dapbridge or its session first"},
		{TargetGone, 4, "start the session again to attach to the new process"},
		{PtraceRefused, 4, "the node's kernel or container runtime forbids ptrace: check /proc/sys/kernel/yama/ptrace_scope and seccomp"},
		{AttachFailed, 4, "run again with --log-level debug to see what Delve says"},
		{DlvUnusable, 4, "see what listens there on the node: ss -ltnp"},
		{SourceMissing, 4, "get the source that the target was built from, and name its place with --map HOST=NODE"},
		{TargetNoUnit, 4, "only a systemd service of the node's own can be handled so; dapbridge ps shows which target runs in which"},
		{JournalFailed, 4, "see on the node whether systemd's journal can be read: sudo journalctl --unit=UNIT"},
		{DetachFailed, 4, "look at the target on the node: grep TracerPid /proc/PID/status"},

		{DeployRefused, 4, "dapbridge symbols lets a stripped target be debugged as it is"},
		{DeploySpace, 3, "make room on the node: df -h shows where there is none; nothing was changed"},
		{DeployShip, 3, "nothing was changed on the node: try again when it can be reached"},
		{DeployFailed, 4, "the former build runs again, nothing was changed: the lines above are the new one's last"},
		{DeployStuck, 4, "run dapbridge restore; dapbridge logs shows what the target says"},
		{DeployBuild, 5, "correct what the build says above, or name another recipe with --build; nothing was changed on the node"},
		{DeploySource, 5, "name the directory of the target's source: dapbridge deploy DIR"},
		{RestoreFailed, 4, "see dapbridge logs, then run dapbridge restore again: what it needs is still there"},

		{ListenFailed, 5, "choose another address with --listen, or end what uses this one"},
		{SessionBusy, 5, "end the other session first, or run dapbridge serve with --takeover"},
		{WriteFailed, 5, "check that you may write there and that the disk is not full"},
		{WatchFailed, 5, "end other programs that watch files, or allow more: sudo sysctl fs.inotify.max_user_instances=1024"},
		{NoRsync, 5, "install rsync 3.4 or newer with your system's package manager (macOS: brew install rsync), or one whose package mends CVE-2024-12086 and says so in its changelog"},
		{LaunchInvalid, 5, "correct the file, or move it away and run again"},
		{DirUnsafe, 5, "move that directory away and run again: a new one is made, of this user's alone"},
		{DaemonSilent, 5, "see whether that process hangs, is stopped or is of another release; end it and start it again"},
		{Unsupported, 5, "see the README for what runs where"},
	}
}

func lookup(code Code) Entry {
	for _, e := range Catalogue() {
		if e.Code == code {
			return e
		}
	}
	return Entry{Code: code, Exit: 1}
}
