package config

import "fmt"

// Layer is one kind of source that values come from.
type Layer string

// The layers, the lowest first.
const (
	Default     Layer = "default"
	User        Layer = "user"      // the user's own file
	InWorkspace Layer = "workspace" // the workspace's file
	Environment Layer = "environment"
	Flag        Layer = "flag"
)

// Origin is where a value comes from.
type Origin struct {
	Layer Layer
	File  string // together with Line, for a value from a file
	Line  int
}

// String returns FILE:LINE for a value from a file, and the layer for others.
func (o Origin) String() string {
	if o.File != "" {
		return fmt.Sprintf("%s:%d", o.File, o.Line)
	}
	return string(o.Layer)
}

// From returns where the value is set, in the user's terms: the flag, the variable,
// or the file and line.
func (v Value) From() string {
	switch v.Origin.Layer {
	case Flag:
		return "--" + v.Key.Name
	case Environment:
		return v.Key.Variable()
	}
	return v.Origin.String()
}
