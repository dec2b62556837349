package config

import "fmt"

// Layer is one of those that values come from.
type Layer string

// The layers, the lowest first.
const (
	Default     Layer = "default"
	User        Layer = "user"      // the user's own file
	InWorkspace Layer = "workspace" // the workspace's
	Environment Layer = "environment"
	Flag        Layer = "flag"
)

// Origin is where a value comes from.
type Origin struct {
	Layer Layer
	File  string // for a value from a file, with the line
	Line  int
}

// String returns FILE:LINE for a file's value, and the layer for others.
func (o Origin) String() string {
	if o.File != "" {
		return fmt.Sprintf("%s:%d", o.File, o.Line)
	}
	return string(o.Layer)
}

// From says where the value was written, as its user would find it.
func (v Value) From() string {
	switch v.Origin.Layer {
	case Flag:
		return "--" + v.Key.Name
	case Environment:
		return v.Key.Variable()
	}
	return v.Origin.String()
}
