package diag

// Explain says when a failure of this kind comes up, in one or two sentences, for
// docs/troubleshooting.md. It returns "" for a code that is not in the catalogue.
func Explain(code Code) string {
	return map[Code]string{
		Internal: "Something went wrong that nobody has foreseen.",

		Usage:           "The command line, or a variable `DAPBRIDGE_...`, makes no sense. Nothing has been contacted.",
		ConfigInvalid:   "A dapbridge.yaml or your own configuration can't be read, or holds a key or a value that is not known. The message names the line.",
		ConfigUntrusted: "A workspace's dapbridge.yaml sets what only you may set, or other users can write to a file that must be yours alone. See [security.md](security.md).",
		SyncRefused:     "The directory on the node is the system's, holds what `dapbridge sync` did not put there, is another user's or is reached through a symbolic link; or none is known for this source. See [sync.md](sync.md).",

		NodeUnknown:      "`--node`, or the default, leads to no machine: there is no such minikube profile, it has no address, or ssh's configuration of the host can't be used.",
		NodeNotLocal:     "The node is neither on this machine nor a minikube profile nor named in `local-nodes`: it may be one that others depend on.",
		NodeUnreachable:  "No connection to the node's SSH server came about, or it broke during the login.",
		HostKeyUnknown:   "The node's host key stands in no known_hosts file, or these files can't be read.",
		HostKeyChanged:   "The node shows another host key than the one that is known. Either it was made anew, or another machine answers in its place.",
		KeyRefused:       "The node accepts none of the keys that were offered for this user.",
		IdentityUnusable: "The file of `--identity` can't be read, is no private key, or is locked by a passphrase.",
		NoSudo:           "The login works, but its user can't become root on the node without a password or a terminal.",
		AgentMissing:     "The node needs a program of another platform than this one, and it was neither found nor could it be built.",
		AgentUpload:      "The agent could not be stored or started on the node: no directory there has space and lets programs run, or the transfer broke.",
		AgentProtocol:    "What answers on the node is another version of the agent, or no agent: often a login script that prints something.",
		NodePlatform:     "The node is no Linux, or its processor is one that Delve can't trace on.",
		NodeSilent:       "The node is connected, and has owed an answer for a minute: it is overloaded, a command on it waits for something, or what answers there is no agent.",
		LinkLost:         "The connection to the node ended under a session. The node lets the daemon go by itself, after `--lease` at the latest.",
		SyncBusy:         "Another `dapbridge sync` writes to this directory of the node's.",
		SyncFailed:       "Some files could not be copied to the node. The rest was; the message names those that were not.",

		TargetNone:     "No process on the node has that unit, name or pid.",
		TargetSeveral:  "Several processes fit, for instance a containerd inside of a container. The message lists them.",
		TargetStripped: "The daemon carries no debug information, and its symbols have not been built. See [symbols.md](symbols.md).",
		TwinRefused:    "What the daemon says of its build is not enough to build it again, or is something that dapbridge does not run.",
		TwinBuild:      "The Go toolchain could not build the daemon's source on this machine, or the source can't be had.",
		TwinDiffers:    "What was built is not the program that runs: the source, the flags or the toolchain are others. Its symbols would lie, so they are not used.",
		TargetNotGo:    "The executable is no Go program, or its tables are damaged.",
		TargetTraced:   "Another program traces the daemon, and Linux allows only one. The message names it.",
		TargetBusy:     "Another dapbridge, perhaps another user's, debugs the daemon. The message names it.",
		TargetGone:     "The process ended in the meantime; its unit may have started another.",
		PtraceRefused:  "The node's kernel, or the container that the node is, forbids to trace or read the process.",
		AttachFailed:   "Delve could not attach to the daemon, or its process ended. The daemon runs on.",
		DlvUnusable:    "What --dlv-addr names on the node is not a dlv that can be used: nothing listens there, it is another program, it takes one client only, or it debugs another process.",
		SourceMissing:  "A source file is neither on this machine nor on the node, or the node may not hand it out.",

		TargetNoUnit:  "A journal is shown, or another build deployed, only of a systemd service's process.",
		JournalFailed: "journalctl on the node fails.",
		DeployRefused: "The target can't be swapped for another build, or not without harm: its file system is read-only, its unit is masked or would end containers, or it is started in a way that is not known. See [deploy.md](deploy.md).",
		DeploySpace:   "The node has no room for the build, or for the copy of the original.",
		DeployShip:    "The build did not arrive on the node as it was sent, or the connection broke while the node worked on it.",
		DeployFailed:  "The deployed build ended, or did not serve within `--ready`. The former one was put back and serves.",
		DeployStuck:   "The deployed build does not serve, and the former one, put back, does not either.",
		DeployBuild:   "The build to deploy failed, or made something that can't run, or be debugged, on the node. What the node lacks is named.",
		DeploySource:  "The directory is not in the module that the target's program belongs to.",
		RestoreFailed: "A file, a unit or a process could not be put back. What it takes to do so is kept.",
		DetachFailed:  "The daemon could not be let go in the time that it usually takes, or the check afterwards found it still traced or changed.",

		ListenFailed:  "The address for the IDE is taken, or may not be used.",
		SessionBusy:   "Another IDE debugs the daemon. The message names it.",
		WriteFailed:   "A file on this machine could not be written.",
		WatchFailed:   "The system has no more means to watch files with: other programs hold all that a user may have.",
		NoRsync:       "This machine or the node has no rsync that `dapbridge sync` uses, so that files are sent as a whole, by dapbridge itself; nothing else is different. Not used are openrsync (macOS) and versions before 3.4 in which a hostile node can read files of this machine, unless the package's changelog names CVE-2024-12086. See [sync.md](sync.md).",
		LaunchInvalid: "The launch.json that is there can't be understood, so nothing is added to it. The message names the line.",
		DirUnsafe:     "The directory of dapbridge's cache or state belongs to another user, or others can write to it: what is in it may be theirs, and would become root on your node.",
		DaemonSilent:  "A `dapbridge serve` of yours has not answered on its control socket: it hangs, is stopped, or is of another release.",
		Unsupported:   "This platform, or what is installed on this machine, can't do it.",
	}[code]
}
