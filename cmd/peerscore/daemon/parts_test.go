package daemon

import (
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"testing"

	"peerscore/assess/probe"
	"peerscore/assess/probe/resolver"
	"peerscore/cmd/peerscore/config"
)

// A host without usable root certificates is a matter of its configuration. They are read once in
// the life of a process, so it is another one that has none.
func TestUnusableRoots(t *testing.T) {
	if os.Getenv("PEERSCORE_WITHOUT_ROOTS") == "" {
		self := exec.Command(os.Args[0], "-test.run", "^TestUnusableRoots$")
		self.Env = append(os.Environ(), "PEERSCORE_WITHOUT_ROOTS=1", "SSL_CERT_FILE="+t.TempDir(), "SSL_CERT_DIR="+t.TempDir())
		if out, err := self.CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
		return
	}
	r, err := resolver.New(resolver.Config{Servers: []string{"127.0.0.1:1"}})
	if err != nil {
		t.Fatal(err)
	}
	var wrong config.Error
	_, err = NewAssessor(config.Default(), slog.New(slog.DiscardHandler), nil, r, Surroundings{}, probe.DefaultLimits())
	if !errors.As(err, &wrong) || wrong.Key != "assess.ca_file" {
		t.Errorf("%v", err)
	}
}
