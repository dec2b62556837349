package archtest

import (
	"fmt"
	"go/ast"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

const promisesPage = "docs/promises.md"

// checkPromises holds docs/promises.md against the tests that there are. Where
// the page names tests, the directories of their packages follow in
// parentheses: `TestA`, `TestB` (e2e) or `TestC` (internal/a, internal/b).
func (r *repository) checkPromises() []violation {
	const reason = "a promise is worth what shows it: each test that " + promisesPage + " names exists in the package that it gives"
	name := regexp.MustCompile("`((?:Test|Fuzz)[A-Z]\\w*)`")
	group := regexp.MustCompile("(?:`(?:Test|Fuzz)[A-Z]\\w*`(?:,\\s+|\\s+and\\s+|\\s+))+\\(([^)]*)\\)")

	text := r.text[promisesPage]
	tests := r.tests()
	var all []violation
	add := func(offset int, format string, args ...any) {
		all = append(all, violation{fmt.Sprintf("%s:%d: ", promisesPage, lineOf(text, offset)) + fmt.Sprintf(format, args...), reason})
	}
	groups := group.FindAllSubmatchIndex(text, -1)
	for _, n := range name.FindAllSubmatchIndex(text, -1) {
		test := string(text[n[2]:n[3]])
		i := slices.IndexFunc(groups, func(g []int) bool { return g[0] <= n[0] && n[1] <= g[1] })
		if i < 0 {
			add(n[0], "%s: no package follows", test)
			continue
		}
		for dir := range strings.SplitSeq(string(text[groups[i][2]:groups[i][3]]), ",") {
			dir = strings.Join(strings.Fields(dir), "")
			if !tests[dir+"."+test] {
				add(n[0], "%s: not in %s", test, dir)
			}
		}
	}
	return all
}

// tests returns every test and fuzz target as "directory.Name", on whatever
// platform it runs.
func (r *repository) tests() map[string]bool {
	all := map[string]bool{}
	for _, f := range r.source {
		for _, d := range f.ast.Decls {
			if fn, isFunc := d.(*ast.FuncDecl); isFunc && f.test && fn.Recv == nil {
				all[f.dir+"."+fn.Name.Name] = true
			}
		}
	}
	return all
}

// checkLinks follows the relative links of every page, also to a heading.
func (r *repository) checkLinks() []violation {
	link := regexp.MustCompile(`\]\(([^)\s]+)\)`)
	var all []violation
	for name, text := range r.text {
		if !isPage(name) {
			continue
		}
		text = blankCode(text)
		for _, m := range link.FindAllSubmatchIndex(text, -1) {
			to := string(text[m[2]:m[3]])
			if strings.Contains(to, ":") {
				continue // a URL
			}
			file, anchor, hasAnchor := strings.Cut(to, "#")
			page := name
			if file != "" {
				page = path.Join(path.Dir(name), file)
			}
			switch {
			case !r.exists(page):
			case hasAnchor && isPage(page) && !anchors(r.text[page])[anchor]:
			default:
				continue
			}
			all = append(all, violation{fmt.Sprintf("%s:%d: %s", name, lineOf(text, m[0]), to), "a link of a page leads to a file, and a heading, that exist"})
		}
	}
	return all
}

// checkPaths holds the paths that CONTRIBUTING.md and ARCHITECTURE.md mention against the tree:
// internal/diag, bridge/policy.go, ./e2e/testnode. In cmd/dapbridge/NAME.go, the
// capitals stand for something. Pages for users name files of containerd, too.
func (r *repository) checkPaths() []violation {
	mention := regexp.MustCompile(`(?:^|[\s(\x60])(?:\./)?((?:bridge|cmd|docs|e2e|goland|internal|pathmap|vscode)(?:/[\w.-]*\w)+)`)
	placeholder := regexp.MustCompile(`[A-Z]{3}`)
	var all []violation
	for _, name := range []string{"CONTRIBUTING.md", "ARCHITECTURE.md"} {
		text := blankCode(r.text[name])
		for _, m := range mention.FindAllSubmatchIndex(text, -1) {
			if p := string(text[m[2]:m[3]]); !placeholder.MatchString(p) && !r.exists(p) {
				all = append(all, violation{fmt.Sprintf("%s:%d: %s", name, lineOf(text, m[2]), p), "a page that names a file is where a newcomer begins: the file exists"})
			}
		}
	}
	return all
}

func isPage(name string) bool {
	return path.Ext(name) == ".md" && !slices.Contains(strings.Split(name, "/"), "testdata")
}

// exists reports whether there is such a file or directory.
func (r *repository) exists(name string) bool {
	return slices.ContainsFunc(r.files, func(f string) bool { return within(f, name) })
}

// anchors returns what links can lead to in a page: ids, and headings as GitHub
// names them (lower case, punctuation dropped, spaces become hyphens).
func anchors(page []byte) map[string]bool {
	id := regexp.MustCompile(`<a id="([^"]+)">`)
	heading := regexp.MustCompile(`(?m)^#+ +(.+?)\s*$`)
	dropped := regexp.MustCompile(`[^\p{L}\p{N}_ -]`)
	all := map[string]bool{}
	for _, m := range id.FindAllSubmatch(page, -1) {
		all[string(m[1])] = true
	}
	for _, m := range heading.FindAllSubmatch(blankCode(page), -1) {
		slug := dropped.ReplaceAllString(strings.ToLower(string(m[1])), "")
		slug = strings.ReplaceAll(slug, " ", "-")
		unique := slug
		for n := 1; all[unique]; n++ {
			unique = slug + "-" + strconv.Itoa(n)
		}
		all[unique] = true
	}
	return all
}

// blankCode replaces the lines of code blocks by empty ones.
func blankCode(page []byte) []byte {
	var b strings.Builder
	inCode := false
	for line := range strings.Lines(string(page)) {
		fence := strings.HasPrefix(strings.TrimSpace(line), "```")
		if fence {
			inCode = !inCode
		}
		if fence || inCode {
			line = "\n"
		}
		b.WriteString(line)
	}
	return []byte(b.String())
}
