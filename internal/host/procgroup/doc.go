// Package procgroup starts programs of the host that end with all that they
// started: builds, above all, which start others in turn.
package procgroup
