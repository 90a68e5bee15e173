package main

import (
	"bufio"
	"bytes"
	"database/sql"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"peerscore/assess/probe/probetest"
	"peerscore/assess/probe/resolver"
	"peerscore/cmd/peerscore/config"
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

// Whether the resolver validates is asked again every day, and the log says when it no longer does.
func TestDailySelfTest(t *testing.T) {
	dns, err := probetest.NewDNS(probetest.DNSConfig{})
	if err != nil {
		t.Fatal(err)
	}
	defer dns.Close()
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		r, err := resolver.New(resolver.Config{Servers: []string{dns.Addr()}})
		if err != nil {
			t.Fatal(err)
		}
		d := &daemon{resolver: r, log: slog.New(slog.NewTextHandler(&log, nil))}
		go d.daily(t.Context())
		time.Sleep(config.Day + time.Hour)
		dns.Fail(". DNSKEY", probetest.ServFail)
		time.Sleep(config.Day)
		synctest.Wait()
		if text := log.String(); strings.Count(text, "validates=") != 2 || !strings.Contains(text, "level=INFO msg=resolver") || !strings.Contains(text, "level=WARN msg=resolver") {
			t.Error(text)
		}
	})
}

// A reload that is asked for while the daemon starts does not end it: with a resolver that does not
// answer that takes seconds.
func TestReloadDuringTheStart(t *testing.T) {
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
	daemon := exec.Command(name, "--config", cfg, "serve")
	log, err := daemon.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	defer daemon.Process.Kill()
	signals := map[string]syscall.Signal{"database open": syscall.SIGHUP, "configuration reloaded": syscall.SIGTERM}
	for lines := bufio.NewScanner(log); lines.Scan(); {
		for message, signal := range signals {
			if strings.Contains(lines.Text(), message) {
				if err := daemon.Process.Signal(signal); err != nil {
					t.Error(err)
				}
			}
		}
	}
	if err := daemon.Wait(); err != nil {
		t.Error(err)
	}
}
