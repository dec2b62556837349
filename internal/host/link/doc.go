// Package link is the host's connection to the agent on a node. [Dial] reaches the
// node, starts the agent there and returns a [Link]; [Client], which it embeds,
// calls the supervisor's methods. Package api has the protocol.
package link
