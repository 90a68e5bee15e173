package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"syscall"
	"time"
)

// What is acknowledged must stand in the file at the path. SQLite does not see that the file
// was renamed, deleted, cut or overwritten: it goes on with its descriptor and with the pages
// that it remembers. So the writer looks before and after each transaction.
//
// Renaming and deleting show in the inode. Overwriting in place, as `cp` does with a backup,
// shows in the first page: SQLite writes that to the file only by copying it out of the log,
// where it still is, unless another process of ours was there since. That one counted up the
// epoch, a number in the header (application_id) that each process raises with its first
// transaction and then at most once in markEvery. The daemon begins it anywhere when it opens
// a file, so that no copy has one that is near.

const (
	markEvery  = time.Second      // between two epochs
	settleTime = time.Second      // a file that was put in place is complete when it does not change for so long
	settleMost = 10 * time.Second // and is opened as it is after so long
	tornPause  = 50 * time.Millisecond

	headerPageSize = 16 // offsets in the first page
	headerPages    = 28
	headerEpoch    = 68
)

var errDisplaced = errors.New("the file at the path is another one")

// identity is what a file is known by.
type identity struct {
	file  inode
	log   inode  // of the -wal file
	index inode  // of the -shm file
	epoch uint32 // the latest, which may stand in the log so far
	face
}

type inode struct{ device, number uint64 }

// inodeOf also returns the size in octets. It costs a message less than os.Stat.
func inodeOf(path string) (inode, int64, error) {
	var s syscall.Stat_t
	if err := syscall.Stat(path, &s); err != nil {
		return inode{}, 0, err
	}
	return inode{s.Dev, s.Ino}, s.Size, nil
}

// face is what shows of the file, at the last look.
type face struct {
	size  int64
	time  time.Time // of the last change
	first [pageSize]byte
}

func (f face) octets() int64 { return int64(binary.BigEndian.Uint32(f.first[headerPages:])) * pageSize }
func (f face) epoch() uint32 { return binary.BigEndian.Uint32(f.first[headerEpoch:]) }

// identify notes what the file is known by, when it has been opened.
func (f *file) identify(ctx context.Context) (err error) {
	var s syscall.Stat_t
	if err := syscall.Fstat(int(f.raw.Fd()), &s); err != nil {
		return err
	}
	f.known.file = inode{s.Dev, s.Ino}
	for suffix, known := range map[string]*inode{"-wal": &f.known.log, "-shm": &f.known.index} {
		if *known, _, err = inodeOf(f.path + suffix); err != nil {
			return err
		}
	}
	if err := f.conn.QueryRowContext(ctx, "PRAGMA application_id").Scan((*signed)(&f.known.epoch)); err != nil {
		return err
	}
	if f.known.face, err = f.look(); err != nil {
		return err
	}
	return f.displaced()
}

// signed is how SQLite writes an epoch.
type signed uint32

func (s *signed) Scan(value any) error {
	n, ok := value.(int64)
	if !ok {
		return fmt.Errorf("not an epoch: %v", value)
	}
	*s = signed(int32(n))
	return nil
}

// look reads the first page. The error is io.EOF where the file is shorter.
func (f *file) look() (face, error) {
	info, err := f.raw.Stat()
	if err != nil {
		return face{}, err
	}
	now := face{size: info.Size(), time: info.ModTime()}
	_, err = f.raw.ReadAt(now.first[:], 0)
	return now, err
}

// damage is how a file was displaced.
type damage struct {
	error
	inPlace bool // the open file itself is no longer what it was
	logOnly bool // the file is, and its log is gone
}

func (d damage) Unwrap() error { return errDisplaced }

// displaced says how the file at the path is no longer the one that is open. It is nil where
// it is, and where that cannot be told.
func (f *file) displaced() error {
	if f.raw == nil {
		return nil // closed
	}
	at, _, err := inodeOf(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		return damage{error: errors.New("it was moved or deleted")}
	}
	if err != nil {
		return nil
	}
	if at != f.known.file {
		return damage{error: errors.New("another file was put in its place")}
	}
	if err := f.changed(); err != nil {
		return err
	}
	log, size, err := inodeOf(f.path + "-wal")
	f.logSize = size
	if errors.Is(err, fs.ErrNotExist) || err == nil && log != f.known.log {
		return damage{error: errors.New("its -wal file was moved or deleted"), logOnly: true}
	}
	return nil
}

// changed says how the open file was overwritten. Copying the log into it, be it by another
// process, is no such thing.
func (f *file) changed() error {
	info, err := f.raw.Stat()
	if err != nil || info.Size() == f.known.size && info.ModTime().Equal(f.known.time) {
		return nil
	}
	if binary.BigEndian.Uint16(f.known.first[headerPageSize:]) != pageSize {
		return nil // somebody chose another one; then only the inode is watched
	}
	now, err := f.look()
	if err == nil && !f.explains(now) { // the page may be in the middle of being written
		time.Sleep(tornPause)
		now, err = f.look()
	}
	switch {
	case now.size < f.known.size && (now.size < pageSize || now.size < now.octets()):
		return damage{error: fmt.Errorf("it was cut from %d to %d octets", f.known.size, now.size), inPlace: true}
	case err != nil:
		return nil
	case !f.explains(now) && !f.agreesWithLog(now):
		return damage{error: errors.New("it was overwritten, as with a copy"), inPlace: true}
	}
	f.known.face = now
	if f.ahead(now) {
		f.known.epoch = now.epoch()
	}
	return nil
}

// explains reports whether SQLite may have written the file so.
func (f *file) explains(now face) bool {
	if now.first == f.known.first || f.ahead(now) {
		return true
	}
	found, empty := f.inLog(now.first[:])
	return found || empty && now.epoch() == f.known.epoch
}

// anchor begins the epoch anywhere, and puts it into the file itself.
func (f *file) anchor(ctx context.Context) error {
	t := &tx{conn: f.conn}
	if err := t.begin(); err != nil {
		return err
	}
	_, err := t.exec(fmt.Sprintf("PRAGMA application_id = %d", int32(rand.Uint32())))
	if err = t.finish(err); err != nil {
		return err
	}
	if _, err := t.exec("PRAGMA wal_checkpoint(PASSIVE)"); err != nil {
		return err
	}
	f.anchored = true
	return f.identify(ctx)
}

// agreesWithLog reports whether what the log holds still fits the file: two processes may have
// written in an order that explains does not know. The epoch must be one that the file had
// since the last look, or then, as far as epochs are anchored: a command may outlive the daemon
// that anchored them.
func (f *file) agreesWithLog(now face) bool {
	since, latest := now.epoch()-f.known.face.epoch(), f.known.epoch-f.known.face.epoch() // modulo 2^32
	if f.anchored && since > latest {
		return false
	}
	_, size, err := inodeOf(f.path + "-wal")
	return err == nil && size > 0 && checkAfresh(context.Background(), f.path) == nil
}

// ahead reports whether another process counted the epoch up: one of a foreign database is
// hardly so near.
func (f *file) ahead(now face) bool {
	const near = 1 << 16             // there is one a second at most
	n := now.epoch() - f.known.epoch // modulo 2^32
	return n > 0 && n < near
}

// inLog looks for a first page among the frames of the log (Write-Ahead Log File Format of SQLite:
// 32 octets of header; each frame has 24, beginning with the number of its page).
func (f *file) inLog(first []byte) (found, empty bool) {
	const logHeader, frameHeader = 32, 24
	log, err := os.Open(f.path + "-wal")
	if err != nil {
		return false, false
	}
	defer log.Close()
	var frame [frameHeader + pageSize]byte
	for at := int64(logHeader); ; at += int64(len(frame)) {
		if n, err := log.ReadAt(frame[:frameHeader], at); err != nil {
			return false, n == 0 && at == logHeader
		}
		if binary.BigEndian.Uint32(frame[:]) != 1 {
			continue
		}
		if _, err := log.ReadAt(frame[frameHeader:], at+frameHeader); err == nil && bytes.Equal(frame[frameHeader:], first) {
			return true, false
		}
	}
}

// mark counts the epoch up.
func (t *tx) mark() error {
	if err := t.get("PRAGMA application_id", nil, (*signed)(&t.epoch)); err != nil {
		return err
	}
	t.epoch++
	t.marked = true
	_, err := t.exec(fmt.Sprintf("PRAGMA application_id = %d", int32(t.epoch)))
	return err
}
