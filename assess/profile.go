package assess

import (
	"bytes"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
)

//go:embed profiles/*.json
var profileFiles embed.FS

// Category is what a score is about.
type Category string

const (
	Confidentiality Category = "confidentiality"
	Identity        Category = "identity"
	Integrity       Category = "integrity"
)

// Categories are the three scores in the order in which they are shown.
var Categories = []Category{Confidentiality, Identity, Integrity}

// Profile is a scoring table as data. A row's stars are reached by every set of standards that
// holds the row's; a set reaches the highest of its rows, and 0 where there is none. Stars are
// therefore monotone by construction: adding a standard never lowers them.
type Profile struct {
	Name   string             `json:"name"`
	Source string             `json:"source"` // the publication and table
	Date   string             `json:"date"`   // of the source, YYYY or YYYY-MM
	Tables map[Category]Table `json:"tables"`
}

// Table is one category: what it asks about, and its rows in any order.
type Table struct {
	Criteria []Standard `json:"criteria"`
	Rows     []Row      `json:"rows"`
}

// Row grants stars to every set of standards that holds all of Met.
type Row struct {
	Stars float64    `json:"stars"` // 0.5 to 5 in steps of 0.5
	Met   []Standard `json:"met"`
}

// LoadProfile reads a built-in profile by name.
func LoadProfile(name string) (Profile, error) {
	data, err := profileFiles.ReadFile("profiles/" + name + ".json")
	if errors.Is(err, fs.ErrNotExist) {
		return Profile{}, fmt.Errorf("no score profile is called %q; there are %s, or the absolute path of a file", name, strings.Join(ProfileNames(), ", "))
	}
	if err != nil {
		return Profile{}, err
	}
	return ParseProfile(data)
}

// ProfileNames lists the built-in profiles.
func ProfileNames() []string {
	entries, _ := profileFiles.ReadDir("profiles") // embedded: it is there
	var names []string
	for _, e := range entries {
		names = append(names, strings.TrimSuffix(e.Name(), ".json"))
	}
	return names
}

// ParseProfile reads and lints a profile.
func ParseProfile(data []byte) (Profile, error) {
	var p Profile
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&p); err != nil {
		return Profile{}, fmt.Errorf("score profile: %w", err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return Profile{}, errors.New("score profile: more than one JSON value")
	}
	if p.Name == "" || strings.Trim(p.Name, "abcdefghijklmnopqrstuvwxyz0123456789.-") != "" {
		return Profile{}, errors.New("score profile: its name needs lower-case letters, digits, dots and hyphens") // it stands in header fields
	}
	for _, c := range Categories {
		if err := p.Tables[c].lint(); err != nil {
			return Profile{}, fmt.Errorf("score profile %s, %s: %w", p.Name, c, err)
		}
	}
	if len(p.Tables) != len(Categories) {
		return Profile{}, fmt.Errorf("score profile %s: a table for each of %v and no other", p.Name, Categories)
	}
	return p, nil
}

func (t Table) lint() error {
	if len(t.Criteria) == 0 || len(t.Criteria) > 12 {
		return errors.New("between 1 and 12 criteria")
	}
	for i, c := range t.Criteria {
		if !slices.Contains(criteria, c) {
			return fmt.Errorf("unknown criterion %q", c)
		}
		if slices.Contains(t.Criteria[:i], c) {
			return fmt.Errorf("criterion %q stands there twice", c)
		}
	}
	for _, row := range t.Rows {
		if len(row.Met) == 0 {
			return fmt.Errorf("%v stars for nothing", row.Stars)
		}
		if row.Stars <= 0 || row.Stars > 5 || row.Stars*2 != float64(int(row.Stars*2)) {
			return fmt.Errorf("stars %v are not a multiple of 0.5 up to 5", row.Stars)
		}
		for _, m := range row.Met {
			if !slices.Contains(t.Criteria, m) {
				return fmt.Errorf("row %v names %q, which is not among the criteria", row.Met, m)
			}
		}
	}
	return nil
}

// best is the row with the most stars that the set reaches; the zero Row where there is none.
// Of rows with equal stars the one that asks for the most wins: it explains best.
func (t Table) best(met func(Standard) bool) Row {
	var best Row
	for _, row := range t.Rows {
		if slices.ContainsFunc(row.Met, func(s Standard) bool { return !met(s) }) {
			continue
		}
		if row.Stars > best.Stars || row.Stars == best.Stars && len(row.Met) > len(best.Met) {
			best = row
		}
	}
	return best
}
