package main

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// cited is a document that a comment names from the root of the repository, and the place in it:
// a numbered section, a heading or word in quotation marks, or a row of a table by its word.
var cited = regexp.MustCompile(`([A-Za-z0-9_./-]+\.md)\b(?:, section ([0-9]+)|, row "([^"]+)"|, "([^"]+)")?`)

// TestCitations holds that the documents which comments and documents cite are there, and have
// the sections.
func TestCitations(t *testing.T) {
	found := 0
	err := filepath.WalkDir("../..", func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && (entry.Name() == ".git" || entry.Name() == "testdata" || entry.Name() == "bin"):
			return fs.SkipDir
		case entry.IsDir():
			return nil
		}
		for _, text := range proseOf(t, path) {
			for _, m := range cited.FindAllStringSubmatch(text, -1) {
				found++
				if problem := missing(filepath.Dir(path), m[1], m[2], m[3], m[4]); problem != "" {
					t.Errorf("%s cites %s: %s", path, m[0], problem)
				}
			}
		}
		return nil
	})
	if err != nil || found < 50 {
		t.Errorf("%d citations, %v", found, err)
	}
}

// proseOf is the text of a document, or of a file's comments, each of them on one line.
func proseOf(t *testing.T, path string) (texts []string) {
	switch filepath.Ext(path) {
	case ".go":
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments|parser.SkipObjectResolution)
		must(t, err)
		for _, c := range file.Comments {
			texts = append(texts, strings.Join(strings.Fields(c.Text()), " "))
		}
		return texts
	case ".md", ".toml", ".cf", ".m4", ".yml", ".lua", ".sieve", ".service", "":
		text, err := os.ReadFile(path)
		must(t, err)
		return []string{strings.Join(strings.Fields(string(text)), " ")}
	}
	return nil
}

// missing says what of a citation is not there; a document may also cite one beside it.
func missing(folder, name, section, row, words string) string {
	text, err := os.ReadFile(filepath.Join("../..", name))
	if err != nil {
		if text, err = os.ReadFile(filepath.Join(folder, name)); err != nil {
			return "there is no such file"
		}
	}
	for want, pattern := range map[string]string{section: `(?m)^## ` + section + `\. `, row: "(?m)^\\| `" + row + "` ", words: regexp.QuoteMeta(words)} {
		if want != "" && !regexp.MustCompile(pattern).Match(text) {
			return "it has no " + want
		}
	}
	return ""
}

// answer is a row of CONTRIBUTING.md's table: a question, the file, and what is there.
var answer = regexp.MustCompile("(?m)^\\| [^|]+\\? \\| `([^`]+)`[^|]* \\| `([^`]+)` \\|$")

// TestWhereIsWhat holds that what a newcomer asks for stands where CONTRIBUTING.md says.
func TestWhereIsWhat(t *testing.T) {
	text, err := os.ReadFile("../../CONTRIBUTING.md")
	if err != nil {
		t.Fatal(err)
	}
	answers := answer.FindAllStringSubmatch(string(text), -1)
	if len(answers) != 10 {
		t.Errorf("%d answers to ten questions", len(answers))
	}
	for _, a := range answers {
		if code, err := os.ReadFile("../../" + a[1]); err != nil || !strings.Contains(string(code), a[2]) {
			t.Errorf("%s has no %s: %v", a[1], a[2], err)
		}
	}
}
