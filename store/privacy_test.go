package store

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"peerscore/assess"
)

// TestNoPersonIsStored plants a local part, a recipient and a word of a message wherever an
// observation has room for text, and looks for them in the files.
func TestNoPersonIsStored(t *testing.T) {
	planted := []string{"localpart", "recipient", "messagetext"}
	path := filepath.Join(t.TempDir(), "peerscore.db")
	s := openPath(t, path, Options{})
	st := passive(s)
	for _, word := range planted {
		address := word + "@planted.example"
		o := observe("a.example", "192.0.2.1")
		o.TLSVersion, o.Cipher, o.SPFResult, o.DKIMResult, o.DMARCResult = address, address, address, address, address
		for _, name := range []string{address, word + " ", word + "+tag", word + "\n", "<" + word + ">"} {
			o.Selectors = append(o.Selectors, assess.Selector{Domain: "a.example", Name: name}, assess.Selector{Domain: assess.Domain(name), Name: "s1"})
		}
		addAll(t, s, o)
		for _, d := range []assess.Domain{assess.Domain(address), assess.Domain("<" + address + ">"), assess.Domain(word + " x.example")} {
			s.CountUnauthenticated(d)
			if s.AddObservation(t.Context(), observe(d, "192.0.2.1")) == nil || s.Learn(t.Context(), d) == nil ||
				s.SaveAssessment(t.Context(), assessed(d, noon)) == nil {
				t.Errorf("%q passed for a domain", d)
			}
			st.Standing(t.Context(), d)
		}
	}
	rejudge(t, st, 1)
	search := func(when string) {
		files, err := filepath.Glob(path + "*")
		check(t, err)
		found := 0
		for _, name := range files {
			content, err := os.ReadFile(name)
			check(t, err)
			for _, word := range planted {
				if bytes.Contains(content, []byte(word)) {
					t.Errorf("%s: %s holds %q", when, filepath.Base(name), word)
				}
			}
			if bytes.Contains(content, []byte("a.example")) {
				found++
			}
		}
		if found == 0 {
			t.Errorf("%s: nothing is stored at all in %v", when, files)
		}
	}
	search("while open")
	check(t, s.Close())
	search("after closing")
}

// TestMessagesAreNotStoredOneByOne shows that the size of the tables does not follow the
// number of messages.
func TestMessagesAreNotStoredOneByOne(t *testing.T) {
	s := open(t, Options{})
	for i := range 1000 {
		addAll(t, s, observe("a.example", fmt.Sprintf("192.0.2.%d", i%2)))
	}
	if n := count(t, s, "tally"); n != 2 {
		t.Errorf("%d rows, want 2", n)
	}
}
