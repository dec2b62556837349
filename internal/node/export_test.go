package node

// FromSSHSettings is what ssh -G's answer makes a node of.
func FromSSHSettings(s map[string][]string, o Options) (*Node, error) {
	return sshSettings(s).newNode("h", o)
}
