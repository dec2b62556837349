// Package link is the host's end of the connection to the agent: [Connect] reads
// the supervisor's hello, and [Client] calls it. Package api has the protocol.
package link
