package main

import (
	"database/sql"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"peerscore/cmd/peerscore/config"
	"peerscore/cmd/peerscore/view"
	"peerscore/store"
)

// An ordinary user has a database of their own, and is told of one that they may not read.
func TestOrdinaryUser(t *testing.T) {
	if os.Geteuid() != 0 && config.Readable(config.SystemStore) {
		t.Skip("this user may read the database of the daemon")
	}
	folder := t.TempDir()
	for _, path := range []string{filepath.Dir(folder), folder} {
		if err := os.Chmod(path, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	binary, err := os.ReadFile(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	name, database := filepath.Join(folder, "peerscore"), filepath.Join(folder, "peerscore.db")
	if err := os.WriteFile(name, binary, 0o755); err != nil { // TestMain knows the command by its name
		t.Fatal(err)
	}
	s, err := store.Open(t.Context(), database, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(database, 0); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		args, env, want string
	}{
		{"config show", "XDG_STATE_HOME=/srv/state", `path = "/srv/state/peerscore/peerscore.db"`},
		{"config show", "HOME=/home/anna", `path = "/home/anna/.local/state/peerscore/peerscore.db"`},
		{"config show", "STATE_DIRECTORY=/var/lib/other", `path = "/var/lib/other/peerscore.db"`},
		{"list --db " + database, "HOME=/home/anna", "peerscore: you may not read the database " + database},
		{"serve --db /proc/peerscore.db", "HOME=/home/anna", "peerscore: cannot open the database: "},
	} {
		cmd := exec.CommandContext(t.Context(), name, strings.Fields(tt.args)...)
		cmd.Env = []string{tt.env}
		if os.Geteuid() == 0 {
			const nobody = 65534
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
		}
		if out, _ := cmd.CombinedOutput(); !strings.Contains(string(out), tt.want) { // some of them fail
			t.Errorf("%s %s: %s, want %s", tt.env, tt.args, out, tt.want)
		}
	}
}

// A database that another process keeps to itself costs one line, and the status that says so.
func TestLocked(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes seconds")
	}
	t.Parallel() // it waits for the other process, for seconds
	path := filepath.Join(t.TempDir(), "peerscore.db")
	s, err := store.Open(t.Context(), path, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.Learn(t.Context(), "bank.example"), s.Close()); err != nil {
		t.Fatal(err)
	}
	other, err := sql.Open("sqlite3", path+"?_txlock=exclusive")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	tx, err := other.Begin()
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	var out strings.Builder
	status := run(t.Context(), []string{"--db", path, "forget", "bank.example"}, &app{Console: view.Console{Out: &out, Err: &out}})
	if want := "peerscore: bank.example: writing the database: database is locked\n"; status != exitUnavailable || out.String() != want {
		t.Errorf("status %d, %q; want %q", status, out.String(), want)
	}
}
