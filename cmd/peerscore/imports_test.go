package main

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// mayImport is the import graph of the design: what each package may import beside the standard
// library. Nobody but cmd imports store, cmd, or both sides of the wall.
var mayImport = map[string][]string{
	"assess":                 {"assess/dnsname"},
	"assess/dnsname":         {"golang.org/x/net"},
	"assess/dkim":            {"assess/dnsname"},
	"assess/spf":             {"golang.org/x/net"},
	"assess/dmarc":           {"assess/dnsname", "golang.org/x/net"},
	"assess/dane":            {"assess/pkix"},
	"assess/pkix":            {"golang.org/x/crypto"},
	"assess/fields":          nil,
	"assess/mtasts":          {"assess/fields"},
	"assess/tlsrpt":          {"assess/fields"},
	"assess/probe":           {"assess", "assess/dkim", "assess/dnsname", "assess/spf", "assess/dmarc", "assess/dane", "assess/pkix", "assess/mtasts", "assess/tlsrpt", "assess/probe/resolver", "golang.org/x/crypto"},
	"assess/probe/resolver":  {"github.com/miekg/dns", "golang.org/x/net"},
	"assess/probe/probetest": {"github.com/miekg/dns"},
	"store":                  {"assess", "assess/dnsname", "github.com/mattn/go-sqlite3"},
	"milter":                 {"assess", "assess/dkim", "assess/dnsname", "assess/spf", "assess/dmarc", "github.com/emersion/go-milter", "github.com/emersion/go-msgauth", "golang.org/x/sys"},
	"milter/miltertest":      nil,

	// Rooms of the command, in the order in which they build on each other. Main stands above all.
	"cmd/peerscore/config": {"assess", "assess/dnsname", "assess/probe", "milter", "store", "github.com/BurntSushi/toml"},
	"cmd/peerscore/view":   {"assess", "assess/dnsname", "store", "cmd/peerscore/config", "github.com/jedib0t/go-pretty", "golang.org/x/term"},
	"cmd/peerscore/reader": {"assess", "assess/dnsname", "store", "cmd/peerscore/config", "cmd/peerscore/view"},
	"cmd/peerscore/daemon": {"assess", "assess/dnsname", "assess/probe", "assess/probe/resolver", "assess/spf", "milter", "store", "cmd/peerscore/config", "cmd/peerscore/view", "cmd/peerscore/reader",
		"github.com/coreos/go-systemd", "github.com/prometheus/client_golang"},
	"cmd/peerscore/bulk":   {"assess", "assess/dnsname", "assess/probe", "store", "cmd/peerscore/config", "cmd/peerscore/view", "cmd/peerscore/daemon", "github.com/vbauerster/mpb"},
	"cmd/peerscore/doctor": {"assess", "assess/dnsname", "assess/probe", "assess/probe/resolver", "store", "cmd/peerscore/config", "cmd/peerscore/view", "cmd/peerscore/reader", "cmd/peerscore/daemon", "cmd/peerscore/bulk"},
	"cmd/peerscore/manual": {"assess", "cmd/peerscore/config", "github.com/spf13/cobra", "github.com/spf13/pflag"},
	"cmd/peerscore/demo":   {"assess", "assess/dnsname", "store", "assess/probe/probetest", "milter/miltertest", "cmd/peerscore/config", "cmd/peerscore/view", "cmd/peerscore/reader", "cmd/peerscore/daemon", "github.com/emersion/go-msgauth", "github.com/miekg/dns"},

	"contrib":      nil,
	"contrib/cost": {"assess", "assess/dnsname", "assess/spf", "assess/dmarc", "assess/dane", "assess/mtasts", "assess/tlsrpt", "assess/probe", "assess/probe/resolver", "assess/probe/probetest", "milter", "milter/miltertest", "github.com/miekg/dns"},
}

// forTests may be imported by test files besides: the kits named after httptest, and what the
// tests of a package need.
var forTests = map[string][]string{
	"assess/spf":            {"go.yaml.in/yaml"},
	"assess/dmarc":          {"go.yaml.in/yaml"},
	"assess/pkix":           {"assess/probe/probetest"},
	"assess/probe":          {"assess/probe/probetest", "github.com/miekg/dns"},
	"assess/probe/resolver": {"assess/probe/probetest", "golang.org/x/time"},
	"cmd/peerscore/daemon":  {"assess/probe/probetest"},
	"milter":                {"milter/miltertest"},
	"contrib":               {"assess/probe/probetest", "milter/miltertest", "github.com/miekg/dns", "github.com/mattn/go-sqlite3"},
}

func TestImportGraph(t *testing.T) {
	const root = "../.."
	seen := map[string]bool{}
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, path)
		dir, _ := filepath.Split(filepath.ToSlash(rel))
		dir = strings.TrimSuffix(dir, "/")
		_, module := os.Stat(filepath.Join(path, "go.mod"))
		switch {
		case entry.IsDir() && rel != "." && (module == nil || entry.Name() == "testdata"):
			return fs.SkipDir // a module of its own, or no package
		case entry.IsDir() || !strings.HasSuffix(path, ".go") || dir == "cmd/peerscore":
			return nil
		case strings.HasPrefix(dir, "contrib/") && mayImport[dir] == nil:
			dir = "contrib"
		}
		seen[dir] = true
		checkImports(t, path, dir)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for dir := range mayImport {
		if !seen[dir] {
			t.Errorf("%s holds no Go file: is the row out of date?", dir)
		}
	}
}

func checkImports(t *testing.T, path, dir string) {
	allowed, ok := mayImport[dir]
	if !ok {
		t.Errorf("%s: the design knows no package %s", path, dir)
		return
	}
	if strings.HasSuffix(path, "_test.go") {
		allowed = append(slices.Clone(allowed), forTests[dir]...)
	}
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
	if err != nil {
		t.Fatal(err)
	}
	for _, spec := range file.Imports {
		name, _ := strconv.Unquote(spec.Path.Value)
		ours, isOurs := strings.CutPrefix(name, "peerscore/")
		foreign := strings.Contains(strings.Split(name, "/")[0], ".")
		if ours == dir || !isOurs && !foreign { // an external test package; the standard library
			continue
		}
		if !slices.ContainsFunc(allowed, func(a string) bool { return ours == a || foreign && strings.HasPrefix(name, a) }) {
			t.Errorf("%s imports %s", path, name)
		}
	}
}
