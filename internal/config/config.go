// Package config finds out what the user wants: from flags, the environment, the
// workspace's file and the user's own, each layer above the next. It reads these
// files and the list of those that are trusted, and contacts nothing.
//
// A workspace's file comes with a repository that somebody else may have
// written: what it may set without having been trusted says [Key.Workspace].
package config

import (
	"cmp"
	"errors"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/dapbridge/dapbridge/internal/diag"
)

// Sources are where values come from. All of the process's surroundings are
// handed in.
type Sources struct {
	Flags     map[string][]string      // those given, by the key's name; a list has an element for each
	Getenv    func(name string) string // an empty variable counts as not set
	Dir       string                   // the working directory, absolute
	Home      string                   // the user's home directory
	UserFile  string                   // the user's own file, which need not be there
	TrustFile string                   // the list of trusted files, likewise
}

// Settings are the values in force.
type Settings struct {
	values    map[string]Value
	Workspace string // the workspace's file, "" if there is none
	Trusted   bool   // it has been trusted as it is
}

// Value is a key's value, with where it is from.
type Value struct {
	Key    Key
	Text   []string // one element, as the flag is written; a list has any number
	Origin Origin
}

// String returns the value of a key that is no list.
func (v Value) String() string { return strings.Join(v.Text, ",") }

// Get returns the value of the key called name, which must be in [Keys].
func (s *Settings) Get(name string) Value { return s.values[name] }

// All returns the values in the order of [Keys].
func (s *Settings) All() []Value {
	var all []Value
	for _, k := range Keys() {
		all = append(all, s.values[k.Name])
	}
	return all
}

// Load reads all layers. Its errors are diag.Usage for a flag or variable,
// diag.ConfigInvalid for a file that can't be understood, and
// diag.ConfigUntrusted for one that says what it may not.
func Load(src Sources) (*Settings, error) {
	s := &Settings{values: map[string]Value{}}
	defaults, err := src.defaults()
	if err != nil {
		return nil, err
	}
	given, err := src.given()
	if err != nil {
		return nil, err
	}
	s.over(defaults)
	if err := s.user(src); err != nil {
		return nil, err
	}
	// The workspace's file is found by the root, which it therefore can't set.
	s.over(given)
	if err := s.workspace(src); err != nil {
		return nil, err
	}
	s.over(given)
	return s, nil
}

// over lays values above those that are there.
func (s *Settings) over(values []Value) {
	for _, v := range values {
		s.values[v.Key.Name] = v
	}
}

// user adds the user's own file.
func (s *Settings) user(src Sources) error {
	f, err := read(src.UserFile, maxFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return unreadable(src.UserFile, err)
	}
	if why := othersWrite(f.info); why != "" {
		return closeToOthers(errorf(diag.ConfigUntrusted, "%s is not read: %s", src.UserFile, why))
	}
	values, err := parse(src.UserFile, User, f.text)
	if err == nil {
		values, err = check(values, filepath.Dir(src.UserFile), src.Home)
	}
	s.over(values)
	return err
}

// workspace adds the workspace's file, if it says no more than it may.
func (s *Settings) workspace(src Sources) error {
	path := FindWorkspace(s.values["root"].String())
	if path == "" {
		return nil
	}
	w, err := ReadWorkspace(path)
	if err != nil {
		return err
	}
	state, err := Trust{File: src.TrustFile}.state(w)
	if err != nil {
		return err
	}
	if err := w.permitted(state, cmp.Or(src.UserFile, "your own configuration")); err != nil {
		return err
	}
	values, err := check(w.values, filepath.Dir(w.Path), src.Home)
	if err != nil {
		return err
	}
	s.Workspace, s.Trusted = w.Path, state == pinned
	s.over(values)
	return nil
}

func (src Sources) defaults() ([]Value, error) {
	var values []Value
	for _, k := range Keys() {
		values = append(values, Value{k, k.defaults(), Origin{Layer: Default}})
	}
	return check(values, src.Dir, src.Home)
}

// given returns the values of the environment, and above them those of the
// flags.
func (src Sources) given() ([]Value, error) {
	var values []Value
	for _, k := range Keys() {
		if text := src.Getenv(k.Variable()); text != "" {
			values = append(values, Value{k, k.split(text), Origin{Layer: Environment}})
		}
	}
	for _, k := range Keys() {
		if text, ok := src.Flags[k.Name]; ok {
			values = append(values, Value{k, text, Origin{Layer: Flag}})
		}
	}
	return check(values, src.Dir, src.Home)
}

// check returns the values as they count: paths are absolute, those that are not
// being relative to dir. It refuses what makes no sense.
func check(values []Value, dir, home string) ([]Value, error) {
	for i, v := range values {
		text := make([]string, len(v.Text))
		for j := range v.Text {
			var err error
			if text[j], err = v.Key.check(v.Text[j], dir, home); err != nil {
				return nil, v.invalid(v.Text[j], err)
			}
		}
		values[i].Text = text
	}
	return values, nil
}

// invalid is the error for a value that makes no sense.
func (v Value) invalid(text string, err error) error {
	switch v.Origin.Layer {
	case Flag:
		return errorf(diag.Usage, "--%s %s: %w", v.Key.Name, text, err)
	case Environment:
		return errorf(diag.Usage, "%s=%s: %w", v.Key.Variable(), text, err).
			WithHint("correct the variable, or unset %s", v.Key.Variable())
	}
	return errorf(diag.ConfigInvalid, "%s: %s: %s: %w", v.Origin, v.Key.Name, shorten(text), err)
}
