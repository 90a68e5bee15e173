package daemon

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"peerscore/cmd/peerscore/config"
)

// A unix socket has the mode and group of the configuration, whatever the umask.
func TestSocketModes(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0o077))
	for _, tt := range []struct {
		mode  config.FileMode
		group string
		gid   uint32
	}{{config.Default().Milter.SocketMode, "", uint32(os.Getgid())}, {0o600, "", uint32(os.Getgid())}, {0o666, "root", 0}, {0o660, "daemon", 1}} {
		if tt.group != "" && os.Geteuid() != 0 {
			continue // only root may give it to another group
		}
		path := filepath.Join(t.TempDir(), "milter")
		listener, err := Listen(config.Listener{Network: "unix", Address: path}, config.MilterConfig{SocketMode: tt.mode, SocketGroup: tt.group})
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

// Only a socket at which nobody answers gives way to ours.
func TestListenRemovesNothingButDeadSockets(t *testing.T) {
	for _, c := range []struct {
		what    string
		put     func(path string) error
		problem string // "": it is replaced
	}{
		{"nothing", func(string) error { return nil }, ""},
		{"a dead socket", deadSocket, ""},
		{"a living socket", func(path string) error {
			listener, err := net.Listen("unix", path)
			t.Cleanup(func() { listener.Close() })
			return err
		}, "another process answers there"},
		{"a file", func(path string) error { return os.WriteFile(path, []byte("mailbox"), 0o600) }, "not a socket; move it away, or set milter.listen"},
		{"an empty folder", func(path string) error { return os.Mkdir(path, 0o700) }, "not a socket"},
		{"a FIFO", func(path string) error { return syscall.Mkfifo(path, 0o600) }, "not a socket"},
		{"a link to a dead socket", func(path string) error {
			return errors.Join(deadSocket(path+".dead"), os.Symlink(path+".dead", path))
		}, "not a socket"},
		{"a link to nothing", func(path string) error { return os.Symlink(path+".none", path) }, "not a socket"},
	} {
		t.Run(c.what, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "milter")
			if err := c.put(path); err != nil {
				t.Fatal(err)
			}
			before, _ := os.Lstat(path)
			listener, err := Listen(config.Listener{Network: "unix", Address: path}, config.Default().Milter)
			if err == nil {
				defer listener.Close()
			}
			if (err == nil) != (c.problem == "") || err != nil && !strings.Contains(err.Error(), c.problem) {
				t.Fatalf("error %v, want %q", err, c.problem)
			}
			if after, _ := os.Lstat(path); c.problem != "" && !os.SameFile(before, after) {
				t.Errorf("it is gone")
			}
		})
	}
}

// deadSocket leaves one behind as a killed process does.
func deadSocket(path string) error {
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return err
	}
	listener.SetUnlinkOnClose(false)
	return listener.Close()
}

// At its end a daemon removes its own socket, not what has taken its place meanwhile.
func TestCloseRemovesItsOwnSocketOnly(t *testing.T) {
	path := filepath.Join(t.TempDir(), "milter")
	for _, replaced := range []bool{false, true} {
		listener, err := Listen(config.Listener{Network: "unix", Address: path}, config.Default().Milter)
		if err != nil {
			t.Fatal(err)
		}
		if replaced {
			if err := errors.Join(os.Remove(path), os.WriteFile(path, []byte("mailbox"), 0o600)); err != nil {
				t.Fatal(err)
			}
		}
		listener.Close()
		listener.Close()
		if _, err := os.Lstat(path); (err == nil) != replaced {
			t.Errorf("replaced %v: %v", replaced, err)
		}
	}
}
