// Package config merges the settings from flags, the environment, the workspace's
// file and the user's own file; the first of these that sets a key wins. It reads
// these files and the list of trusted ones, and contacts nothing.
//
// A workspace's file comes with a repository that somebody else may have written:
// [Key.Workspace] says what it may set without being trusted.
package config

import (
	"cmp"
	"errors"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/dapbridge/dapbridge/internal/diag"
)

// Sources are where values come from. They include everything that Load needs from the
// process's environment.
type Sources struct {
	Flags     map[string][]string      // given on the command line, by key; a list has one element per value
	Getenv    func(name string) string // an empty variable counts as unset
	Dir       string                   // the working directory, absolute
	Home      string                   // the user's home directory
	UserFile  string                   // the user's own file, which need not exist
	TrustFile string                   // the list of trusted files, which need not exist
}

// Settings are the effective values.
type Settings struct {
	values    map[string]Value
	Workspace string // the workspace's file, "" if there is none
	Trusted   bool   // the user has trusted its present content
}

// Value is a key's value and its origin.
type Value struct {
	Key    Key
	Text   []string // one element, as given to a flag; a list has any number
	Origin Origin
}

// String returns the value; commas separate those of a list.
func (v Value) String() string { return strings.Join(v.Text, ",") }

// Get returns the value of the named key, which must be in [Keys].
func (s *Settings) Get(name string) Value { return s.values[name] }

// All returns the values in the order of [Keys].
func (s *Settings) All() []Value {
	var all []Value
	for _, k := range Keys() {
		all = append(all, s.values[k.Name])
	}
	return all
}

// Load reads all sources. Its errors are diag.Usage for a flag or variable,
// diag.ConfigInvalid for a file that cannot be parsed, and diag.ConfigUntrusted for
// one that sets what it must not.
func Load(src Sources) (*Settings, error) {
	s := &Settings{values: map[string]Value{}}
	defaults, err := src.defaults()
	if err != nil {
		return nil, err
	}
	explicit, err := src.explicit()
	if err != nil {
		return nil, err
	}
	s.apply(defaults)
	if err := s.applyUserFile(src); err != nil {
		return nil, err
	}
	// The root decides which workspace file applies, so it must be set first.
	s.apply(explicit)
	if err := s.applyWorkspaceFile(src); err != nil {
		return nil, err
	}
	s.apply(explicit)
	return s, nil
}

// apply sets the keys in values, replacing earlier values.
func (s *Settings) apply(values []Value) {
	for _, v := range values {
		s.values[v.Key.Name] = v
	}
}

// applyUserFile applies the user's own file, if there is one.
func (s *Settings) applyUserFile(src Sources) error {
	f, err := readFile(src.UserFile, maxFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return unreadableError(src.UserFile, err)
	}
	if why := othersCanWrite(f.info); why != "" {
		return withPermissionHint(errorf(diag.ConfigUntrusted, "refusing to read %s: %s", src.UserFile, why))
	}
	values, err := parse(src.UserFile, User, f.text)
	if err == nil {
		values, err = normalize(values, filepath.Dir(src.UserFile), src.Home)
	}
	s.apply(values)
	return err
}

// applyWorkspaceFile applies the workspace's file, if there is one. It fails if the
// file sets more than it may.
func (s *Settings) applyWorkspaceFile(src Sources) error {
	path := FindWorkspace(s.values["root"].String())
	if path == "" {
		return nil
	}
	w, err := ReadWorkspace(path)
	if err != nil {
		return err
	}
	state, err := Trust{File: src.TrustFile}.lookup(w)
	if err != nil {
		return err
	}
	if err := w.checkPermissions(state, cmp.Or(src.UserFile, "your own configuration")); err != nil {
		return err
	}
	values, err := normalize(w.values, filepath.Dir(w.Path), src.Home)
	if err != nil {
		return err
	}
	s.Workspace, s.Trusted = w.Path, state == trusted
	s.apply(values)
	return nil
}

func (src Sources) defaults() ([]Value, error) {
	var values []Value
	for _, k := range Keys() {
		values = append(values, Value{k, k.defaults(), Origin{Layer: Default}})
	}
	return normalize(values, src.Dir, src.Home)
}

// explicit returns the values from the environment, followed by those from flags.
func (src Sources) explicit() ([]Value, error) {
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
	return normalize(values, src.Dir, src.Home)
}

// normalize returns the values with absolute paths: relative ones are relative to
// dir. It fails if a value is invalid.
func normalize(values []Value, dir, home string) ([]Value, error) {
	for i, v := range values {
		text := make([]string, len(v.Text))
		for j := range v.Text {
			var err error
			if text[j], err = v.Key.normalize(v.Text[j], dir, home); err != nil {
				return nil, v.invalidError(v.Text[j], err)
			}
		}
		values[i].Text = text
	}
	return values, nil
}

func (v Value) invalidError(text string, err error) error {
	switch v.Origin.Layer {
	case Flag:
		return errorf(diag.Usage, "--%s %s: %w", v.Key.Name, text, err)
	case Environment:
		return errorf(diag.Usage, "%s=%s: %w", v.Key.Variable(), text, err).
			WithHint("correct the variable, or unset %s", v.Key.Variable())
	}
	return errorf(diag.ConfigInvalid, "%s: %s: %s: %w", v.Origin, v.Key.Name, shorten(text), err)
}
