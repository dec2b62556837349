package archtest

import (
	"bytes"
	"fmt"
	"go/format"
	"path"
	"regexp"
	"strings"
)

// registryHosts returns hosts that packages come from, put together so that
// this file does not name them either.
func registryHosts() []string {
	var hosts []string
	for _, h := range [][2]string{
		{"proxy.golang", "org"}, {"sum.golang", "org"}, {"goproxy", "io"}, {"goproxy", "cn"},
		{"registry.npmjs", "org"}, {"registry.yarnpkg", "com"}, {"registry.npmmirror", "com"},
		{"pypi", "org"}, {"files.pythonhosted", "org"}, {"static.crates", "io"}, {"index.crates", "io"},
		{"deb.debian", "org"}, {"security.debian", "org"}, {"archive.ubuntu", "com"},
	} {
		hosts = append(hosts, h[0]+"."+h[1])
	}
	return hosts
}

func (r *repository) checkHosts() []violation {
	var all []violation
	for name, text := range r.text {
		for _, host := range registryHosts() {
			if i := bytes.Index(text, []byte(host)); i >= 0 {
				all = append(all, violation{fmt.Sprintf("%s:%d: %s", name, lineOf(text, i), host), "where packages come from is set on the machine that builds: it may be a mirror, or have no network at all"})
			}
		}
	}
	return all
}

func (r *repository) checkFormat() []violation {
	var all []violation
	for _, f := range r.source {
		text := bytes.ReplaceAll(r.text[f.name], []byte("\r\n"), []byte("\n")) // a checkout on Windows
		if formatted, err := format.Source(text); err != nil || !bytes.Equal(formatted, text) {
			all = append(all, violation{f.name + ": is not formatted", "run gofmt -w on it"})
		}
	}
	return all
}

// checkPinned keeps builds the same tomorrow.
func (r *repository) checkPinned() []violation {
	unpinned := regexp.MustCompile(`@(latest|upgrade|main|master)\b`)
	replace := regexp.MustCompile(`(?m)^\s*replace\b`)
	var all []violation
	for name, text := range r.text {
		at := func(i int, what string) {
			all = append(all, violation{fmt.Sprintf("%s:%d: %s", name, lineOf(text, i), what), "a build of the same commit gives the same program, here and elsewhere"})
		}
		if name == "go.mod" {
			if loc := replace.FindIndex(text); loc != nil {
				at(loc[1]-1, "replace")
			}
		}
		if path.Base(name) == "Makefile" || strings.HasPrefix(name, ".ci/") {
			for _, loc := range unpinned.FindAllIndex(text, -1) {
				at(loc[0], string(text[loc[0]:loc[1]]))
			}
		}
	}
	return all
}

func lineOf(text []byte, offset int) int { return 1 + bytes.Count(text[:offset], []byte("\n")) }
