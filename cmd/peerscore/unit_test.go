package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const unitFile = "../../contrib/systemd/peerscore.service"

// TestUnit has systemd look at the unit, and holds everything that peerscore asks of the
// kernel during a demonstration, which uses all of it, against what the unit lets it ask.
func TestUnit(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes seconds")
	}
	if underRace {
		t.Skip("what is looked at is built without the race detector")
	}
	t.Parallel()
	for _, program := range []string{"systemd-analyze", "strace"} {
		if _, err := exec.LookPath(program); err == nil {
			continue
		} else if os.Getenv("PEERSCORE_FULL") != "" {
			t.Fatal(err)
		}
		t.Skip("needs " + program)
	}
	dir := t.TempDir()
	binary, unit, trace := buildVictim(t), filepath.Join(dir, "peerscore.service"), filepath.Join(dir, "trace")
	text, err := os.ReadFile(unitFile)
	if err != nil {
		t.Fatal(err)
	}
	// Only the place of the binary is another.
	if err := os.WriteFile(unit, []byte(strings.ReplaceAll(string(text), "/usr/local/bin/peerscore", binary)), 0o600); err != nil {
		t.Fatal(err)
	}
	if complaints := output(t, "systemd-analyze", "verify", "--man=no", unit); strings.Contains(complaints, "peerscore.service") {
		t.Error(complaints)
	}
	const exposure = "20" // of 100, most of it for a network that a prober needs
	output(t, "systemd-analyze", "security", "--no-pager", "--offline=yes", "--threshold="+exposure, unit)

	output(t, "strace", "-f", "-qq", "-o", trace, binary, "demo")
	calls, err := os.ReadFile(trace)
	if err != nil {
		t.Fatal(err)
	}
	allowed := allowedCalls(t, string(text))
	families := strings.Fields(setting(string(text), "RestrictAddressFamilies")[0])
	made := map[string]int{}
	for line := range strings.Lines(string(calls)) {
		call := systemCall.FindStringSubmatch(line)
		if call == nil {
			continue // a signal, or the end of a thread
		}
		made[call[1]]++
		if family, _, _ := strings.Cut(call[2], ","); call[1] == "socket" && !slices.Contains(families, family) {
			t.Errorf("the unit does not allow %s", line)
		}
		if strings.Contains(call[2], "PROT_EXEC") && (call[1] == "mprotect" || strings.Contains(call[2], "PROT_WRITE")) {
			t.Errorf("MemoryDenyWriteExecute does not allow %s", line)
		}
	}
	for call := range made {
		if !allowed[call] {
			t.Errorf("the unit does not allow %s", call)
		}
	}
	if made["socket"] == 0 || made["fsync"]+made["fdatasync"] == 0 || made["accept4"] == 0 {
		t.Errorf("the demonstration shows too little: %v", made)
	}
	t.Logf("%d kinds of system calls, %d allowed", len(made), len(allowed))
}

// systemCall is a line of strace: process, name, arguments.
var systemCall = regexp.MustCompile(`^\d+ +([a-z0-9_]+)\((.*)`)

// allowedCalls are those that the filters of a unit leave, line by line (systemd.exec(5)).
func allowedCalls(t *testing.T, unit string) map[string]bool {
	allowed := map[string]bool{"execve": true} // of systemd itself
	for _, filter := range setting(unit, "SystemCallFilter") {
		names, deny := strings.CutPrefix(filter, "~")
		for _, name := range strings.Fields(names) {
			for _, call := range callsOf(t, name) {
				allowed[call] = !deny
			}
		}
	}
	for call, yes := range allowed {
		if !yes {
			delete(allowed, call)
		}
	}
	return allowed
}

// callsOf are the system calls of a set, and of the sets within.
func callsOf(t *testing.T, name string) (calls []string) {
	if !strings.HasPrefix(name, "@") {
		return []string{name}
	}
	for line := range strings.Lines(output(t, "systemd-analyze", "--no-pager", "syscall-filter", name)) {
		if line = strings.TrimSpace(line); line != "" && line != name && line[0] != '#' {
			calls = append(calls, callsOf(t, line)...)
		}
	}
	return calls
}

// setting gives the values of a key, in order.
func setting(unit, key string) (values []string) {
	for line := range strings.Lines(unit) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), key+"="); ok {
			values = append(values, value)
		}
	}
	return values
}

// output runs a program that must succeed.
func output(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}
