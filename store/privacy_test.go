package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"peerscore/assess"
	"peerscore/assess/dnsname"
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
			o.Selectors = append(o.Selectors, assess.Selector{Domain: "a.example", Name: name}, assess.Selector{Domain: dnsname.Domain(name), Name: "s1"})
		}
		addAll(t, s, o)
		for _, d := range []dnsname.Domain{dnsname.Domain(address), dnsname.Domain("<" + address + ">"), dnsname.Domain(word + " x.example")} {
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

// TestForgottenLeavesNoFragment fills a file in random order, with rows that grow and move,
// forgets domains beside a second process that has the file open as a daemon has, and looks
// for their names in the files as they are on disk.
func TestForgottenLeavesNoFragment(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes seconds")
	}
	path := filepath.Join(t.TempDir(), "peerscore.db")
	process, command := openPath(t, path, Options{}), openPath(t, path, Options{})
	random := rand.New(rand.NewPCG(1, 2))
	var domains []dnsname.Domain
	for range 150 {
		d := dnsname.Domain(fmt.Sprintf("x%d.example", random.Int64()))
		domains = append(domains, d)
		check(t, process.SaveAssessment(t.Context(), assessed(d, noon)))
		check(t, process.SaveHostRecord(t.Context(), assess.HostRecord{Session: facts(d, noon).Hosts.Hosts[0].Sessions[0]}))
		check(t, process.SetLabels(t.Context(), d, []string{"label-of-" + string(d)}))
	}
	for i := range 1500 {
		d := domains[random.IntN(len(domains))]
		o := observe(d, fmt.Sprintf("192.0.2.%d", i%256))
		o.Selectors = []assess.Selector{{Domain: d, Name: fmt.Sprint("s", i%9)}}
		addAll(t, process, o)
	}
	check(t, process.SaveAssessment(t.Context(), assessed(domains[0], noon.Add(time.Hour), noSPF))) // a history
	for _, d := range domains[:50] {
		check(t, command.Forget(t.Context(), d))
		addAll(t, process, observe(domains[100], "192.0.2.1"))
		for _, suffix := range []string{"", "-wal", "-shm"} {
			content, err := os.ReadFile(path + suffix)
			check(t, err)
			if n := bytes.Count(content, []byte(strings.TrimSuffix(string(d), ".example"))); n > 0 {
				t.Fatalf("%d fragments of %s in peerscore.db%s", n, d, suffix)
			}
		}
	}
}

// A reader keeps the log: forgetting says so, and works once it is gone.
func TestForgetBesideAReader(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes seconds")
	}
	path := filepath.Join(t.TempDir(), "peerscore.db")
	s := openPath(t, path, Options{})
	addAll(t, s, observe("a.example", "192.0.2.1"), observe("b.example", "192.0.2.1"))
	conn := second(t, path)
	_, err := conn.ExecContext(t.Context(), "BEGIN; SELECT count(*) FROM domain")
	check(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if err := s.Forget(ctx, "a.example"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v", err)
	}
	_, err = conn.ExecContext(t.Context(), "ROLLBACK")
	check(t, err)
	check(t, s.Forget(t.Context(), "b.example"))
	if info, err := os.Stat(path + "-wal"); err != nil || info.Size() > 0 {
		t.Errorf("the log: %v, %v", info, err)
	}
}
