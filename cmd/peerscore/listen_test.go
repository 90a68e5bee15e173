package main

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// A unix socket has the mode and group of the configuration, whatever the umask.
func TestSocketModes(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0o077))
	for _, tt := range []struct {
		mode  FileMode
		group string
		gid   uint32
	}{{defaultConfig().Milter.SocketMode, "", uint32(os.Getgid())}, {0o600, "", uint32(os.Getgid())}, {0o666, "root", 0}, {0o660, "daemon", 1}} {
		if tt.group != "" && os.Geteuid() != 0 {
			continue // only root may give it to another group
		}
		path := filepath.Join(t.TempDir(), "milter")
		listener, err := listen(Listener{Network: "unix", Address: path}, MilterConfig{SocketMode: tt.mode, SocketGroup: tt.group})
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode().Perm(); got != os.FileMode(tt.mode) || info.Sys().(*syscall.Stat_t).Gid != tt.gid {
			t.Errorf("mode %o of group %d, want %o of %d", got, info.Sys().(*syscall.Stat_t).Gid, tt.mode, tt.gid)
		}
	}
}
