package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"peerscore/assess/probe/probetest"
	"peerscore/cmd/peerscore/config"
	"peerscore/cmd/peerscore/demo"
	"peerscore/cmd/peerscore/view"
)

const schemaFolder = "../../contrib/schema"

// TestSchemas holds what each command prints with --json against its schema: by a validator of
// others, and key by key. Every key that is printed is described, and every key that is described
// is printed at least once.
func TestSchemas(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes seconds")
	}
	t.Parallel()
	printed := schemaOutputs(t)
	files, err := filepath.Glob(schemaFolder + "/*.json")
	must(t, err)
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".json")
		if printed[name] == nil {
			t.Errorf("nothing was printed for %s", file)
		}
		text, err := os.ReadFile(file)
		must(t, err)
		s := schemaOf(t, string(text))
		for _, output := range printed[name] {
			s.compare(s.root, "", parseJSON(t, output))
		}
		s.unseen()
		for _, problem := range s.problems {
			t.Errorf("%s: %s", name, problem)
		}
	}
	for name := range printed {
		if !slices.Contains(files, filepath.Join(schemaFolder, name+".json")) {
			t.Errorf("%s has no schema", name)
		}
	}
	t.Run("validator", func(t *testing.T) { validate(t, printed) })
}

// validate calls contrib/schema/validate.
func validate(t *testing.T, printed map[string][]string) {
	const python = "/usr/bin/python3"
	if out, err := exec.Command(python, "-c", "import jsonschema").CombinedOutput(); err != nil {
		if os.Getenv("PEERSCORE_FULL") != "" {
			t.Fatalf("%v: %s", err, out)
		}
		t.Skip("needs python3-jsonschema")
	}
	folder := t.TempDir()
	args := []string{schemaFolder + "/validate"}
	for name, outputs := range printed {
		path := filepath.Join(folder, name)
		must(t, os.WriteFile(path, []byte(strings.Join(outputs, "\n")), 0o600))
		args = append(args, name+"="+path)
	}
	if out, err := exec.Command(python, args...).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	cmd := exec.Command(python, schemaFolder+"/validate", "version")
	cmd.Stdin = strings.NewReader(`{"version": 1}`)
	if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), "version: $.version: 1 is not of type 'string'") {
		t.Errorf("what does not fit is taken: %v\n%s", err, out)
	}
}

// schemaOutputs are what the commands print about peers of every kind, by the name of the schema.
func schemaOutputs(t *testing.T) map[string][]string {
	world := startLab(t)
	must(t, world.DNS.Set(probetest.Zone{Name: "null.example", Records: "@ MX 0 ."}))
	lab := inLab(t, world)
	lab.learn("pending.example")
	printed := map[string][]string{}
	run := func(name string, args ...string) {
		printed[name] = append(printed[name], lab.run(append(args, "--json")...))
	}
	for _, p := range demo.Providers {
		if p.Domain != "broken.example" {
			run("domain", "assess", p.Domain)
		}
	}
	run("domain", "assess", "null.example")
	lab.distrusting().run("assess", "bank.example")
	run("domain", "assess", "bank.example")
	lab.run("label", "bank.example", "bank")
	for _, domain := range []string{"nordmail.example", "bank.example", "pending.example", "null.example"} {
		run("domain", "show", domain)
		run("domain", "explain", domain)
		run("history", "history", domain)
		run("label", "label", domain)
	}
	run("domain", "show", "nordmail.example", "pending.example")
	run("domain", "export", "json")
	run("list", "list")
	run("events", "events", "--all")
	run("stats", "stats")
	run("rescore", "rescore")
	run("version", "version")
	run("profiles-list", "profiles", "list")
	run("profiles-show", "profiles", "show", "mecsa-2020")
	run("profiles-lint", "profiles", "lint", "../../assess/profiles/mecsa-2018.json")
	run("config-check", "config", "check")
	run("config-show", "config", "show")
	out, _ := lab.try(view.Console{}, "doctor", "nordmail.example", "--json") // there may be no Postfix
	printed["doctor"] = append(printed["doctor"], out)
	v := startVictim(t, buildVictim(t), world.DNS)
	lab.path = filepath.Join(filepath.Dir(v.log), "peerscore.toml")
	run("status", "status")
	return printed
}

// distrusting does not know who issued the certificates of the world.
func (l commandLab) distrusting() commandLab {
	l.distrusts = true
	return l
}

// schema is one file, and what was found of it.
type schema struct {
	root, defs map[string]any
	seen       map[string]bool // places of keys that were printed
	problems   []string
}

func schemaOf(t *testing.T, text string) *schema {
	root := parseJSON(t, text).(map[string]any)
	defs, _ := root["$defs"].(map[string]any)
	return &schema{root: root, defs: defs, seen: map[string]bool{}}
}

// at follows a reference, and names the place that it leads to.
func (s *schema) at(node map[string]any, place string) (map[string]any, string) {
	if ref, ok := node["$ref"].(string); ok {
		name := strings.TrimPrefix(ref, "#/$defs/")
		def, _ := s.defs[name].(map[string]any)
		return def, name
	}
	return node, place
}

// compare looks for keys of a value that the schema does not describe.
func (s *schema) compare(node map[string]any, place string, value any) {
	node, place = s.at(node, place)
	switch v := value.(type) {
	case []any:
		items, ok := node["items"].(map[string]any)
		if !ok && node["properties"] != nil { // an array of several domains
			items = node
		}
		for _, one := range v {
			s.compare(items, place, one)
		}
	case map[string]any:
		properties, _ := node["properties"].(map[string]any)
		others, _ := node["additionalProperties"].(map[string]any)
		for _, key := range slices.Sorted(maps.Keys(v)) {
			inner, described := properties[key].(map[string]any)
			switch {
			case described:
				s.seen[place+"."+key] = true
			case others != nil:
				inner = others
			default:
				s.problems = append(s.problems, fmt.Sprintf("%s.%s is not described", place, key))
				continue
			}
			s.compare(inner, place+"."+key, v[key])
		}
	}
}

// unseen looks for keys that are described and were never printed.
func (s *schema) unseen() {
	s.unseenIn(s.root, "")
	for name, def := range s.defs {
		s.unseenIn(def.(map[string]any), name)
	}
}

func (s *schema) unseenIn(node map[string]any, place string) {
	if node["$ref"] != nil {
		return
	}
	properties, _ := node["properties"].(map[string]any)
	for key, inner := range properties {
		if !s.seen[place+"."+key] {
			s.problems = append(s.problems, fmt.Sprintf("%s.%s was never printed", place, key))
		}
		s.unseenIn(inner.(map[string]any), place+"."+key)
	}
	for _, keyword := range []string{"items", "additionalProperties"} {
		if inner, ok := node[keyword].(map[string]any); ok {
			s.unseenIn(inner, place)
		}
	}
}

// Every key of peerscore.toml is in the schema of what is in effect, and no other.
func TestSchemaOfConfiguration(t *testing.T) {
	text, err := os.ReadFile(schemaFolder + "/config-show.json")
	must(t, err)
	var s struct {
		Properties map[string]struct {
			Properties map[string]json.RawMessage
		}
	}
	must(t, json.Unmarshal(text, &s))
	var described, keys []string
	for table, inner := range s.Properties {
		for key := range inner.Properties {
			described = append(described, table+"."+key)
		}
	}
	for _, k := range config.Keys {
		keys = append(keys, k.Name)
	}
	slices.Sort(described)
	slices.Sort(keys)
	if !slices.Equal(described, keys) {
		t.Errorf("described are %q, known %q", described, keys)
	}
}
