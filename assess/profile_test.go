package assess

import (
	"slices"
	"strings"
	"testing"
)

func TestProfileNames(t *testing.T) {
	if got := ProfileNames(); !slices.Equal(got, []string{"mecsa-2018", "mecsa-2020"}) {
		t.Error(got)
	}
	if _, err := LoadProfile("mecsa-1999"); err == nil || !strings.Contains(err.Error(), "mecsa-2018") {
		t.Errorf("an unknown profile: %v", err)
	}
	if _, err := LoadProfile("../profile"); err == nil {
		t.Error("a path is taken for a name")
	}
}

// The built-in tables carry their source, list no row twice, and no row that gives less than a
// row it contains: such a row would never be reached.
func TestProfilesLint(t *testing.T) {
	for _, name := range ProfileNames() {
		p, err := LoadProfile(name)
		if err != nil {
			t.Fatal(err)
		}
		if p.Name != name || p.Source == "" || p.Date == "" {
			t.Errorf("%s: name %q, source %q, date %q", name, p.Name, p.Source, p.Date)
		}
		for c, table := range p.Tables {
			seen := map[string]bool{}
			for _, row := range table.Rows {
				if seen[setOf(row.Met)] {
					t.Errorf("%s, %s: %v is listed twice", name, c, row.Met)
				}
				seen[setOf(row.Met)] = true
				met := func(s Standard) bool { return slices.Contains(row.Met, s) }
				if best := table.best(met); best.Stars != row.Stars {
					t.Errorf("%s, %s: %v gives %v stars, and a part of it %v", name, c, row.Met, row.Stars, best.Stars)
				}
			}
		}
	}
}

func TestParseProfileRefuses(t *testing.T) {
	const good = `{"name": "n", "source": "s", "date": "2020", "tables": {
		"confidentiality": {"criteria": ["starttls", "x509"], "rows": [{"stars": 5, "met": ["starttls"]}]},
		"identity": {"criteria": ["spf"], "rows": [{"stars": 5, "met": ["spf"]}]},
		"integrity": {"criteria": ["dkim"], "rows": [{"stars": 5, "met": ["dkim"]}]}}}`
	if _, err := ParseProfile([]byte(good)); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ name, old, new string }{
		{"no JSON", `{"name"`, `"name"`},
		{"an unknown key", `"source"`, `"sources"`},
		{"more after it", `}}}`, `}}} {}`},
		{"no name", `"name": "n"`, `"name": ""`},
		{"a table too few", `"identity"`, `"confidentiality"`},
		{"a table too many", `"identity"`, `"secrecy": {"criteria": ["spf"], "rows": []}, "identity"`},
		{"no criteria", `["starttls", "x509"]`, `[]`},
		{"a criterion twice", `["starttls", "x509"]`, `["starttls", "starttls"]`},
		{"an unknown criterion", `["spf"], "rows"`, `["spf", "arc"], "rows"`},
		{"a row outside the criteria", `"met": ["spf"]`, `"met": ["dkim"]`},
		{"a row of nothing", `"met": ["spf"]`, `"met": []`},
		{"too many stars", `{"stars": 5, "met": ["dkim"]}`, `{"stars": 5.5, "met": ["dkim"]}`},
		{"no stars", `{"stars": 5, "met": ["dkim"]}`, `{"stars": 0, "met": ["dkim"]}`},
		{"odd stars", `{"stars": 5, "met": ["dkim"]}`, `{"stars": 3.3, "met": ["dkim"]}`},
	} {
		text := strings.Replace(good, tt.old, tt.new, 1)
		if text == good {
			t.Fatalf("%s: nothing replaced", tt.name)
		}
		if _, err := ParseProfile([]byte(text)); err == nil {
			t.Errorf("%s: accepted", tt.name)
		}
	}
}
