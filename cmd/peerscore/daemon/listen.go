package daemon

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/user"
	"strconv"
	"sync"
	"syscall"

	"peerscore/cmd/peerscore/config"
)

var errBusy = errors.New("another process answers there; stop it, or set milter.listen")

// Listen opens one milter socket. A unix socket that a dead process left is replaced; one that
// answers is not, nor is anything that is not a socket.
func Listen(l config.Listener, cfg config.MilterConfig) (net.Listener, error) {
	if l.Network != "unix" {
		listener, err := net.Listen(l.Network, l.Address)
		return listener, busy(err)
	}
	if err := removeStale(l.Address); err != nil {
		return nil, err
	}
	listener, err := net.Listen("unix", l.Address)
	if err != nil {
		return nil, busy(err)
	}
	if err := setOwner(l.Address, cfg); err != nil {
		listener.Close()
		return nil, err
	}
	return own(listener.(*net.UnixListener), l.Address)
}

func busy(err error) error {
	if errors.Is(err, syscall.EADDRINUSE) {
		return errBusy
	}
	return err
}

// removeStale removes the socket that a dead process left at a path.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode().Type() != fs.ModeSocket {
		return errors.New("it exists and is not a socket; move it away, or set milter.listen")
	}
	conn, err := net.Dial("unix", path)
	switch {
	case err == nil:
		conn.Close()
		return errBusy
	case errors.Is(err, syscall.ECONNREFUSED):
		return os.Remove(path)
	case errors.Is(err, syscall.EAGAIN): // its backlog is full
		return errBusy
	}
	return err
}

// ownSocket is a unix socket that Close removes only as long as it is the one that was opened:
// another daemon may have taken the path, or the operator put something else there.
type ownSocket struct {
	*net.UnixListener
	remove func()
}

func own(listener *net.UnixListener, path string) (net.Listener, error) {
	listener.SetUnlinkOnClose(false)
	opened, err := os.Lstat(path)
	if err != nil {
		listener.Close()
		return nil, err
	}
	return ownSocket{listener, sync.OnceFunc(func() {
		if now, err := os.Lstat(path); err == nil && os.SameFile(now, opened) {
			_ = os.Remove(path) // the next start removes it
		}
	})}, nil
}

// Close stops listening and removes the socket.
func (s ownSocket) Close() error {
	s.remove()
	return s.UnixListener.Close()
}

func setOwner(path string, cfg config.MilterConfig) error {
	if cfg.SocketGroup != "" {
		group, err := user.LookupGroup(cfg.SocketGroup)
		if err != nil {
			return fmt.Errorf("milter.socket_group: %w", err)
		}
		gid, err := strconv.Atoi(group.Gid)
		if err != nil {
			return fmt.Errorf("milter.socket_group: %w", err)
		}
		if err := os.Chown(path, -1, gid); err != nil {
			return fmt.Errorf("milter.socket_group: %w", err)
		}
	}
	return os.Chmod(path, os.FileMode(cfg.SocketMode))
}
