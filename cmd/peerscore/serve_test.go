package main

import (
	"bufio"
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"peerscore/cmd/peerscore/view"
)

// A database that a newer peerscore wrote is left as it is, and the error says so.
func TestNewerDatabase(t *testing.T) {
	path := filepath.Join(t.TempDir(), "peerscore.db")
	db, err := sql.Open("sqlite3", "file:"+path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec("PRAGMA user_version = 999"); err != nil {
		t.Fatal(err)
	}
	var out, complaint bytes.Buffer
	status := run(t.Context(), []string{"serve", "--db", path}, &app{Console: view.Console{Out: &out, Err: &complaint}})
	if text := complaint.String(); status != exitUnavailable || !strings.Contains(text, "a newer peerscore wrote it") || strings.Count(text, "\n") != 1 {
		t.Errorf("status %d: %s", status, text)
	}
	if aside, _ := filepath.Glob(path + ".*"); len(aside) > 0 {
		t.Errorf("there is %q beside it", aside)
	}
}

// A reload that is asked for while the daemon starts does not end it: with a resolver that does not
// answer that takes seconds.
func TestReloadDuringTheStart(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes seconds")
	}
	t.Parallel()
	silent, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	folder := t.TempDir()
	cfg := filepath.Join(folder, "peerscore.toml")
	text := fmt.Sprintf("milter.listen = \"unix:%s/milter.sock\"\ndns.servers = [%q]\nstore.path = \"%s/peerscore.db\"\n", folder, silent.LocalAddr(), folder)
	if err := os.WriteFile(cfg, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(folder, "peerscore") // by which TestMain knows the command
	if err := os.Symlink(os.Args[0], name); err != nil {
		t.Fatal(err)
	}
	process := exec.Command(name, "--config", cfg, "serve")
	log, err := process.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	defer process.Process.Kill()
	signals := map[string]syscall.Signal{"database open": syscall.SIGHUP, "configuration reloaded": syscall.SIGTERM}
	for lines := bufio.NewScanner(log); lines.Scan(); {
		for message, signal := range signals {
			if strings.Contains(lines.Text(), message) {
				if err := process.Process.Signal(signal); err != nil {
					t.Error(err)
				}
			}
		}
	}
	if err := process.Wait(); err != nil {
		t.Error(err)
	}
}

// A file named as the socket costs the start, with one line that says what to do, not the file.
func TestServeKeepsAFileNamedAsItsSocket(t *testing.T) {
	dir := t.TempDir()
	path, cfg := filepath.Join(dir, "milter"), filepath.Join(dir, "peerscore.toml")
	for name, text := range map[string]string{path: "mailbox", cfg: `milter.listen = "unix:` + path + "\"\n"} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var out, complaint bytes.Buffer
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second) // or it would serve
	defer cancel()
	args := []string{"serve", "--config", cfg, "--db", filepath.Join(dir, "peerscore.db")}
	status := run(ctx, args, &app{Console: view.Console{Out: &out, Err: &complaint}})
	lines := strings.Split(strings.TrimSpace(complaint.String()), "\n")
	if last := lines[len(lines)-1]; status != exitUnavailable || !strings.Contains(last, "cannot listen on unix:"+path+": it exists and is not a socket; move it away") {
		t.Errorf("status %d: %s", status, complaint.String())
	}
	if text, err := os.ReadFile(path); string(text) != "mailbox" {
		t.Errorf("%q, %v", text, err)
	}
}
