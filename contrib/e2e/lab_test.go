package e2e

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// lab is one laboratory: its folder and the processes that it started. Everything ends with the test.
type lab struct {
	t       testing.TB
	dir     string
	unbound *exec.Cmd
	arrived map[string]arrival // by file
}

// arrival is a delivered message.
type arrival struct{ id, text string }

func newLab(t testing.TB) *lab {
	needLab(t)
	dir, err := os.MkdirTemp("", "peerscore-e2e")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil { // Postfix's own users pass through
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() && os.Getenv("PEERSCORE_E2E_KEEP") != "" {
			t.Logf("the laboratory is kept in %s", dir)
			return
		}
		os.RemoveAll(dir)
	})
	return &lab{t: t, dir: dir, arrived: map[string]arrival{}}
}

func (l *lab) subdir(name string) string {
	l.t.Helper()
	dir := filepath.Join(l.dir, name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		l.t.Fatal(err)
	}
	return dir
}

// run executes a program to its end and returns its standard output; a failure ends the test.
func (l *lab) run(dir, program string, args ...string) string {
	l.t.Helper()
	out, err := l.try(dir, program, args...)
	if err != nil {
		l.t.Fatalf("%s %q: %v\n%s", program, args, err, out)
	}
	return out
}

func (l *lab) try(dir, program string, args ...string) (string, error) {
	cmd := exec.Command(program, args...)
	cmd.Dir = dir
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if err != nil {
		out.Write(errs.Bytes())
	}
	return out.String(), err
}

// start runs a server until the test ends; its output goes to <name>.log in the laboratory's
// folder and is shown if the test fails.
func (l *lab) start(name, program string, args ...string) *exec.Cmd {
	l.t.Helper()
	log, err := os.OpenFile(filepath.Join(l.dir, name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		l.t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(program, args...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() {
		syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		cmd.Wait()
		if l.t.Failed() {
			l.t.Logf("%s said:\n%s", name, tail(filepath.Join(l.dir, name+".log"), 4000))
		}
	})
	return cmd
}

// waitFor polls until the condition holds; half a minute is the end of patience.
func (l *lab) waitFor(what string, condition func() bool) {
	l.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if condition() {
			return
		}
	}
	l.t.Fatalf("%s did not come about within 30 s", what)
}

func tail(path string, n int) string {
	content, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	return string(content[max(0, len(content)-n):])
}
