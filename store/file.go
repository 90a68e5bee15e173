package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"syscall"
	"time"

	"github.com/mattn/go-sqlite3"
)

const (
	fileMode    = 0o640           // SQLite gives its -wal and -shm files the same
	busyTimeout = 2 * time.Second // a writer waits so long for another process; assess/probe/limits.md, section 1 leaves a message 8 s
	readers     = 4               // connections for reading
)

// file is the database file, opened for writing.
type file struct {
	path  string
	raw   *os.File // open for longer than SQLite's own: closing one releases the locks of them all
	read  *sql.DB
	hold  *sql.DB // a connection more: while there is one, the writer does not copy the log when it is closed
	write *sql.DB
	conn  *sql.Conn // the only connection of write
	known identity

	anchored bool  // the epochs of known began when this process opened the file
	logSize  int64 // octets of the -wal file, at the last look
}

// openFile opens or creates the file and brings it to the present schema.
func openFile(ctx context.Context, path string) (f *file, err error) {
	if err := create(path, nil); err != nil {
		return nil, err
	}
	f = &file{path: path}
	defer func() {
		if err != nil {
			f.close()
			f = nil
		}
	}()
	if f.raw, err = os.Open(path); err != nil {
		return f, err
	}
	if f.write, err = connect(path, "rw", url.Values{
		"_synchronous": {"FULL"}, "_foreign_keys": {"on"}, "_busy_timeout": {fmt.Sprint(busyTimeout.Milliseconds())},
		"_secure_delete": {"on"}, // what is deleted is overwritten with zeros, and so are the pages that become free
	}); err != nil {
		return f, err
	}
	f.write.SetMaxOpenConns(1)
	if f.conn, err = f.write.Conn(ctx); err != nil {
		return f, err
	}
	if err = prepare(ctx, f.conn); err != nil {
		return f, err
	}
	if err = migrate(ctx, f.conn); err != nil {
		return f, err
	}
	if f.read, err = connect(path, "ro", nil); err != nil {
		return f, err
	}
	if f.hold, err = connect(path, "ro", nil); err != nil {
		return f, err
	}
	if _, err = schemaVersion(ctx, f.hold); err != nil {
		return f, err
	}
	return f, f.identify(ctx)
}

// create makes an empty file unless there is one, with a mode of our own, since SQLite would choose
// 0644, or with that of the file before, if that is known. An existing file is not opened here,
// because closing it would release the locks that SQLite holds on it in this process.
func create(path string, before fs.FileInfo) error {
	if err := checkRegular(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, fileMode)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	resemble(f, before)
	return f.Close()
}

// resemble gives a new file the owner, the group and the mode of another as far as this process
// may, but itself must be able to write it. Another group than that gets no more than by default.
func resemble(f *os.File, before fs.FileInfo) {
	if before == nil {
		return
	}
	mode := before.Mode().Perm() | 0o600
	of, ok := before.Sys().(*syscall.Stat_t)
	if !ok || f.Chown(int(of.Uid), int(of.Gid)) != nil && f.Chown(-1, int(of.Gid)) != nil {
		mode &= fileMode | 0o707
	}
	_ = f.Chmod(mode)
}

// checkRegular refuses what would block whoever opens it, or is no place to keep anything. The
// error is fs.ErrNotExist where there is nothing.
func checkRegular(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	switch mode := info.Mode(); {
	case mode.IsRegular():
		return nil
	case mode.IsDir():
		return syscall.EISDIR
	case mode&fs.ModeNamedPipe != 0:
		return errors.New("is a named pipe")
	case mode&fs.ModeSocket != 0:
		return errors.New("is a socket")
	}
	return errors.New("is a device")
}

// prepare makes the file a WAL that stays when the last process closes it: without the -wal
// and -shm files a reader that may not write to the folder could not open it.
func prepare(ctx context.Context, conn *sql.Conn) error {
	mode, err := enterWAL(ctx, conn)
	if err != nil {
		return err
	}
	if mode != "wal" {
		return fmt.Errorf("the file system does not support WAL (journal mode %q)", mode)
	}
	const walLimit = 64 << 20 // octets that the -wal file keeps after a checkpoint
	if _, err := conn.ExecContext(ctx, fmt.Sprintf("PRAGMA journal_size_limit = %d", walLimit)); err != nil {
		return err
	}
	return conn.Raw(func(c any) error {
		return c.(*sqlite3.SQLiteConn).SetFileControlInt("main", sqlite3.SQLITE_FCNTL_PERSIST_WAL, 1)
	})
}

// enterWAL repeats what SQLite refuses at once, whatever the busy timeout, while another
// process makes the same new file a WAL.
func enterWAL(ctx context.Context, conn *sql.Conn) (mode string, err error) {
	for deadline := time.Now().Add(busyTimeout); ; {
		err = conn.QueryRowContext(ctx, "PRAGMA journal_mode = WAL").Scan(&mode)
		if !isBusy(err) || time.Now().After(deadline) {
			return mode, err
		}
		select {
		case <-ctx.Done():
			return "", ctx.Err()
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// connect opens a pool. The statements of this package fit into the cache of each connection.
func connect(path, mode string, params url.Values) (*sql.DB, error) {
	if params == nil {
		params = url.Values{}
	}
	params.Set("mode", mode)
	params.Set("_stmt_cache_size", "64")
	dsn := "file:" + (&url.URL{Path: path}).EscapedPath() + "?" + params.Encode()
	db, err := sql.Open("sqlite3", dsn)
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(readers)
	db.SetMaxIdleConns(readers)
	return db, nil
}

// openReadOnly opens an existing file of the present schema.
func openReadOnly(ctx context.Context, path string) (*sql.DB, error) {
	switch err := checkRegular(path); {
	case errors.Is(err, fs.ErrNotExist):
		return nil, ErrNoDatabase
	case err != nil:
		return nil, err
	}
	db, err := tryReadOnly(ctx, path, nil)
	var failure sqlite3.Error
	if errors.As(err, &failure) && (failure.Code == sqlite3.ErrCantOpen || failure.Code == sqlite3.ErrReadonly) && walIsEmpty(path) {
		// Another program removed the -wal and -shm files and this process may not make new ones.
		// Then all there is stands in the file, and nobody writes.
		db, err = tryReadOnly(ctx, path, url.Values{"immutable": {"1"}})
	}
	if errors.As(err, &failure) && failure.SystemErrno.Is(fs.ErrPermission) {
		return nil, fs.ErrPermission
	}
	return db, err
}

func tryReadOnly(ctx context.Context, path string, params url.Values) (*sql.DB, error) {
	db, err := connect(path, "ro", params)
	if err != nil {
		return nil, err
	}
	if err := checkVersion(ctx, db); err != nil {
		db.Close()
		return nil, err
	}
	return db, nil
}

func walIsEmpty(path string) bool {
	info, err := os.Stat(path + "-wal")
	return errors.Is(err, fs.ErrNotExist) || err == nil && info.Size() == 0
}

func isBusy(err error) bool {
	var failure sqlite3.Error
	return errors.As(err, &failure) && failure.Code == sqlite3.ErrBusy
}

// isReadOnly also holds for a file that was closed and could not be opened again.
func isReadOnly(err error) bool {
	var failure sqlite3.Error
	return errors.Is(err, sql.ErrConnDone) || errors.As(err, &failure) && failure.Code == sqlite3.ErrReadonly
}

// close closes the writer last: it copies the log into the file, and leaves an empty one.
func (f *file) close() error {
	var errs []error
	if f.hold != nil {
		errs = append(errs, f.hold.Close())
	}
	if f.read != nil {
		errs = append(errs, f.read.Close())
	}
	if f.conn != nil {
		errs = append(errs, f.conn.Close())
	}
	if f.write != nil {
		errs = append(errs, f.write.Close())
	}
	return errors.Join(append(errs, f.closeRaw())...)
}

// abandon closes the writer first: the log is not copied.
func (f *file) abandon() error {
	return errors.Join(f.conn.Close(), f.write.Close(), f.hold.Close(), f.read.Close(), f.closeRaw())
}

func (f *file) closeRaw() error {
	raw := f.raw
	f.raw = nil
	if raw == nil {
		return nil
	}
	return raw.Close()
}
