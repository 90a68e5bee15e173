package main

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// mayImport is the import graph of the design: what a package may import of this module.
// Packages below a folder that is listed with a slash at the end share its row.
var mayImport = []struct {
	dir     string
	imports []string
}{
	{"assess/spf", nil},
	{"assess/dmarc", nil},
	{"assess/dane", nil},
	{"assess/mtasts", nil},
	{"assess/tlsrpt", nil},
	{"assess/probe/resolver", []string{"assess/probe/probetest"}}, // its tests
	{"assess/probe/probetest", nil},
	{"assess/probe", []string{"assess", "assess/spf", "assess/dmarc", "assess/dane", "assess/mtasts", "assess/tlsrpt", "assess/probe/resolver", "assess/probe/probetest"}},
	{"assess", nil},
	{"store", []string{"assess"}},
	{"milter/miltertest", nil},
	{"milter", []string{"assess", "assess/spf", "assess/dmarc", "milter/miltertest"}},
}

func TestImportGraph(t *testing.T) {
	const root = "../.."
	seen := map[string]bool{}
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, ".go") {
			return err
		}
		rel, _ := filepath.Rel(root, path)
		dir := filepath.ToSlash(filepath.Dir(rel))
		for _, row := range mayImport {
			if row.dir == dir {
				seen[dir] = true
				checkImports(t, path, rel, row.imports)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range mayImport {
		if !seen[row.dir] {
			t.Errorf("%s holds no Go file: is the row out of date?", row.dir)
		}
	}
}

// checkImports reads one file. The test kits named after httptest are for tests and for cmd only.
func checkImports(t *testing.T, path, rel string, allowed []string) {
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
	if err != nil {
		t.Fatal(err)
	}
	for _, spec := range file.Imports {
		name, _ := strconv.Unquote(spec.Path.Value)
		ours, ok := strings.CutPrefix(name, "peerscore/")
		if !ok {
			continue
		}
		own := ours == filepath.ToSlash(filepath.Dir(rel)) // an external test package
		if !own && !contains(allowed, ours) {
			t.Errorf("%s imports %s", rel, name)
		}
		isKit := strings.HasSuffix(ours, "probetest") || strings.HasSuffix(ours, "miltertest")
		if isKit && !strings.HasSuffix(rel, "_test.go") {
			t.Errorf("%s imports %s outside a test", rel, name)
		}
	}
}

func contains(list []string, s string) bool {
	for _, l := range list {
		if l == s {
			return true
		}
	}
	return false
}
