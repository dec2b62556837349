// Package procgroup starts programs that end together with everything they have
// started, such as builds.
package procgroup
