package e2e

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// programs are what the laboratory starts or calls.
var programs = []string{
	"ip", "mount", "nsd", "nsd-checkconf", "posttls-finger", "ldns-keygen", "ldns-signzone", "unbound", "postfix", "swaks", "dkimsign", "openssl", "saslpasswd2", "gcc", "go",
	"sieve-test", "spamassassin", "rspamd", "rspamc",
}

const (
	inside = "PEERSCORE_E2E_INSIDE" // set inside the namespaces
	binary = "PEERSCORE_BIN"        // the peerscore that is tested
)

// TestMain runs the tests inside namespaces of their own. Outside it only starts itself again there.
func TestMain(m *testing.M) {
	if os.Getenv(inside) != "" {
		if err := prepareNamespace(); err != nil {
			fmt.Fprintln(os.Stderr, "e2e:", err)
			os.Exit(1)
		}
		flag.Set("test.parallel", "4") // laboratories wait more than they compute
		os.Exit(m.Run())
	}
	flag.Parse()
	if missing := missingPrograms(); missing != "" || testing.Short() {
		os.Exit(m.Run()) // each test skips or fails with the reason
	}
	os.Exit(runInside())
}

func missingPrograms() string {
	if os.Geteuid() != 0 {
		return "root is needed"
	}
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			return p + " is not installed"
		}
	}
	return ""
}

// needLab skips a test outside the namespaces; under PEERSCORE_FULL=1 that is a failure.
func needLab(t testing.TB) {
	t.Helper()
	if os.Getenv(inside) != "" {
		return
	}
	if testing.Short() {
		t.Skip("end-to-end tests take minutes")
	}
	reason := "end-to-end tests left out: " + missingPrograms() + "; contrib/test installs what they need"
	if os.Getenv("PEERSCORE_FULL") != "" {
		t.Fatal(reason)
	}
	t.Skip(reason)
}

// runInside builds the program that is tested, while there may still be a network, and starts
// this test again in namespaces of its own. With PEERSCORE_BIN set that program is tested.
func runInside() int {
	env := append(os.Environ(), inside+"=1")
	if os.Getenv(binary) == "" {
		dir, err := os.MkdirTemp("", "peerscore-bin")
		if err != nil {
			fmt.Fprintln(os.Stderr, "e2e:", err)
			return 1
		}
		defer os.RemoveAll(dir)
		if err := os.Chmod(dir, 0o755); err != nil { // other users run it too
			fmt.Fprintln(os.Stderr, "e2e:", err)
			return 1
		}
		path := filepath.Join(dir, "peerscore")
		if out, err := exec.Command("go", "build", "-o", path, "peerscore/cmd/peerscore").CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "e2e: cannot build peerscore: %v\n%s", err, out)
			return 1
		}
		env = append(env, binary+"="+path)
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = env
	cmd.Stdin, cmd.Stdout, cmd.Stderr = nil, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID, Pdeathsig: syscall.SIGKILL}
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		return exit.ExitCode()
	case err != nil:
		fmt.Fprintln(os.Stderr, "e2e: cannot make namespaces:", err)
		return 1
	}
	return 0
}

// prepareNamespace brings loopback up and points the system's resolver at Unbound. What it
// mounts is gone with the namespace.
func prepareNamespace() error {
	dir, err := os.MkdirTemp("", "peerscore-e2e-etc")
	if err != nil {
		return err
	}
	files := map[string]string{
		"/etc/resolv.conf":   "nameserver 127.0.0.1\noptions timeout:2 attempts:2\n",
		"/etc/hosts":         "127.0.0.1 localhost\n",
		"/etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\nservices: files\nprotocols: files\n",
	}
	steps := [][]string{
		{"mount", "--make-rprivate", "/"},
		{"mount", "-t", "proc", "proc", "/proc"},
		{"ip", "link", "set", "lo", "up"},
		{"ip", "route", "add", "local", "10.0.0.0/8", "dev", "lo", "table", "local"}, // peers: 127.0.0.0/8 would be ourselves
		{"ip", "address", "add", sendmailReceiver6 + "/128", "dev", "lo", "nodad"},
		{"ip", "address", "add", source6 + "/128", "dev", "lo", "nodad"},
		{"ip", "address", "add", benchSource + "/32", "dev", "lo"},
	}
	for path, content := range files {
		own := filepath.Join(dir, filepath.Base(path))
		if err := os.WriteFile(own, []byte(content), 0o644); err != nil {
			return err
		}
		steps = append(steps, []string{"mount", "--bind", own, path})
	}
	for _, step := range steps {
		if out, err := exec.Command(step[0], step[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", strings.Join(step, " "), err, out)
		}
	}
	return nil
}

// cover shows a file or folder of the laboratory in place of one of the system, until the test
// ends and in this mount namespace only.
func (l *lab) cover(system, own string) {
	l.t.Helper()
	l.run("", "mount", "--bind", own, system)
	l.t.Cleanup(func() { l.run("", "umount", "--lazy", system) })
}
