package exe

import (
	"bytes"
	"debug/elf"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Needs is what an executable requires of the system it runs on. A static one requires
// nothing: its Interpreter is "".
type Needs struct {
	Interpreter string    `json:"interpreter,omitempty"` // path of the dynamic linker
	Libraries   []Library `json:"libraries,omitempty"`
	Dirs        []string  `json:"dirs,omitempty"` // its own library directories, which are searched first
	// Elsewhere says that libraries beside the executable are used too ($ORIGIN): one
	// that is not found may be there.
	Elsewhere bool `json:"elsewhere,omitempty"`
}

// Library is a shared library with the required versions of its symbols.
type Library struct {
	Name     string   `json:"name"`               // libc.so.6
	Versions []string `json:"versions,omitempty"` // GLIBC_2.34
}

// Needs reads what the executable requires of the system it runs on.
func (x *File) Needs() (n Needs, err error) {
	err = withELF(x.r, func(e executable) error {
		n, err = e.readNeeds()
		return err
	})
	return n, err
}

func (e executable) readNeeds() (n Needs, err error) {
	for _, p := range e.Progs {
		if p.Type == elf.PT_INTERP {
			name := make([]byte, min(p.Filesz, pathLimit))
			if _, err := e.r.ReadAt(name, int64(p.Off)); err != nil {
				return n, err
			}
			n.Interpreter = string(bytes.TrimRight(name, "\x00"))
		}
	}
	if n.Interpreter == "" {
		return n, nil
	}
	names, err := e.ImportedLibraries()
	if err != nil {
		return n, err
	}
	versions, err := e.DynamicVersionNeeds()
	if err != nil {
		return n, err
	}
	for _, name := range names {
		l := Library{Name: name}
		for _, v := range versions {
			if v.Name != name {
				continue
			}
			for _, need := range v.Needs {
				if need.Flags&elf.VER_FLG_WEAK == 0 {
					l.Versions = append(l.Versions, need.Dep)
				}
			}
		}
		n.Libraries = append(n.Libraries, l)
	}
	for _, tag := range []elf.DynTag{elf.DT_RUNPATH, elf.DT_RPATH} {
		paths, err := e.DynString(tag)
		if err != nil {
			return n, err
		}
		n.Dirs = append(n.Dirs, strings.Split(strings.Join(paths, ":"), ":")...)
	}
	n.Dirs = slices.DeleteFunc(n.Dirs, func(dir string) bool {
		n.Elsewhere = n.Elsewhere || dir != "" && !filepath.IsAbs(dir)
		return !filepath.IsAbs(dir)
	})
	return n, nil
}

// Missing returns what the system whose file system is below root lacks, "" if
// nothing. It searches the dynamic linker's default directories and those in
// ld.so.conf (ld.so(8), ldconfig(8)).
func (n Needs) Missing(root string) string {
	if n.Interpreter == "" {
		return ""
	}
	machine, err := readMachine(filepath.Join(root, n.Interpreter))
	if err != nil {
		return fmt.Sprintf("the dynamic linker %s: %v", n.Interpreter, err)
	}
	dirs := append(slices.Clone(n.Dirs), findLibraryDirs(root)...)
	for _, l := range n.Libraries {
		path := findLibrary(root, dirs, l.Name, machine)
		if path == "" && n.Elsewhere {
			continue
		}
		if path == "" {
			return fmt.Sprintf("the library %s", l.Name)
		}
		has, err := readDefinedVersions(filepath.Join(root, path))
		if err != nil {
			return fmt.Sprintf("%s: %v", path, err)
		}
		for _, v := range l.Versions {
			if !slices.Contains(has, v) {
				return fmt.Sprintf("%s of %s: %s has %s", v, l.Name, path, describeNewest(has, v))
			}
		}
	}
	return ""
}

// describeNewest names the last of a library's versions that is of the same kind as a
// missing one. The versions are in ascending order.
func describeNewest(versions []string, like string) string {
	kind := like[:strings.IndexAny(like+"0", "0123456789")]
	for _, v := range slices.Backward(versions) {
		if number, ok := strings.CutPrefix(v, kind); ok && number != "" && number[0] >= '0' && number[0] <= '9' {
			return "at most " + v
		}
	}
	return "none of the kind"
}

// findLibraryDirs returns the directories in which a system's libraries are searched.
func findLibraryDirs(root string) []string {
	dirs := []string{"/lib64", "/usr/lib64", "/lib", "/usr/lib", "/usr/local/lib"}
	for _, pattern := range []string{"lib/*-linux-gnu", "usr/lib/*-linux-gnu"} {
		found, _ := filepath.Glob(filepath.Join(root, pattern)) // the pattern is well-formed
		for _, dir := range found {
			dirs = append(dirs, "/"+strings.TrimPrefix(strings.TrimPrefix(dir, filepath.Clean(root)), "/"))
		}
	}
	confs, _ := filepath.Glob(filepath.Join(root, "etc/ld.so.conf.d/*.conf"))
	for _, conf := range append(confs, filepath.Join(root, "etc/ld.so.conf")) {
		for line := range strings.Lines(string(readStart(conf))) {
			if dir := strings.TrimSpace(line); filepath.IsAbs(dir) {
				dirs = append(dirs, dir)
			}
		}
	}
	return dirs
}

// readStart returns the first 16 KiB of a file, nothing if it cannot be read.
func readStart(path string) []byte {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	data, _ := io.ReadAll(io.LimitReader(f, 16<<10))
	return data
}

// findLibrary returns the path below root of the first library with that name for that
// machine, "" if there is none.
func findLibrary(root string, dirs []string, name string, machine elf.Machine) string {
	for _, dir := range dirs {
		path := filepath.Join(dir, name)
		if m, err := readMachine(filepath.Join(root, path)); err == nil && m == machine {
			return path
		}
	}
	return ""
}

func readMachine(path string) (m elf.Machine, err error) {
	x, err := Open(path)
	if err != nil {
		return m, err
	}
	defer x.Close()
	return m, withELF(x.r, func(e executable) error {
		m = e.Machine
		return nil
	})
}

// readDefinedVersions returns the versions of a library's symbols, without the first,
// which is the library's own name (VER_FLG_BASE).
func readDefinedVersions(path string) (names []string, err error) {
	x, err := Open(path)
	if err != nil {
		return nil, err
	}
	defer x.Close()
	err = withELF(x.r, func(e executable) error {
		all, err := e.DynamicVersions()
		for _, v := range all {
			if v.Flags&elf.VER_FLG_BASE == 0 {
				names = append(names, v.Name)
			}
		}
		return err
	})
	return names, err
}
