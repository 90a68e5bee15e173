package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"peerscore/assess"
	"peerscore/assess/dnsname"
)

// readAsChild prints how many sessions a.example has.
func readAsChild(args []string) error {
	if os.Geteuid() == 0 {
		return fmt.Errorf("root can write everywhere")
	}
	s, err := OpenReader(context.Background(), args[0])
	if errors.Is(err, fs.ErrPermission) {
		fmt.Println("denied")
		return nil
	}
	if err != nil {
		return err
	}
	defer s.Close()
	e, err := s.Evidence(context.Background(), "a.example", noon, assess.DefaultWindow)
	if err != nil {
		return err
	}
	peers, err := s.Peers(context.Background(), Filter{})
	fmt.Println(e.Tally.Credited(), len(peers))
	return err
}

// TestReaderWithoutWritePermission reads as a user who may read the file and no more: beside
// a writing daemon, after its end, after its sudden death, and where the -wal file is gone.
func TestReaderWithoutWritePermission(t *testing.T) {
	path := filepath.Join(publicFolder(t), "peerscore.db")
	binary := copyOf(t, os.Args[0], 0o755)
	read := func(name, path string, want int) {
		t.Helper()
		check(t, os.Chmod(filepath.Dir(path), 0o555))
		defer os.Chmod(filepath.Dir(path), 0o755)
		for _, suffix := range []string{"", "-wal", "-shm"} {
			if err := os.Chmod(path+suffix, 0o444); err == nil {
				defer os.Chmod(path+suffix, fileMode)
			}
		}
		if got, err := readAsNobody(binary, path); err != nil || got != fmt.Sprint(want, " 1") {
			t.Errorf("%s: got %q (%v), want %d sessions of one peer", name, got, err, want)
		}
	}

	s := openPath(t, path, Options{})
	for n := range 5 {
		addAll(t, s, observe("a.example", "192.0.2.1"))
		read("beside the daemon", path, n+1)
	}
	killed := filepath.Join(publicFolder(t), "peerscore.db") // the files as they are at this moment
	for _, suffix := range []string{"", "-wal", "-shm"} {
		check(t, os.Rename(copyOf(t, path+suffix, 0o644), killed+suffix))
	}
	read("after kill -9", killed, 5)
	check(t, s.Close())
	read("after the daemon ended", path, 5)
	s = openPath(t, path, Options{})
	addAll(t, s, observe("a.example", "192.0.2.1"))
	check(t, s.Close())
	read("after it ran again", path, 6)
	check(t, os.Remove(path+"-wal"))
	check(t, os.Remove(path+"-shm"))
	read("without the -wal file", path, 6)

	check(t, os.Chmod(path, 0))
	if got, err := readAsNobody(binary, path); err != nil || got != "denied" {
		t.Errorf("without read permission: got %q (%v), want fs.ErrPermission", got, err)
	}
}

// readAsNobody is what readAsChild prints as a user without rights.
func readAsNobody(binary, path string) (string, error) {
	cmd := exec.Command(binary, path)
	cmd.Env = append(os.Environ(), "PEERSCORE_STORE_CHILD=read")
	if os.Geteuid() == 0 {
		const nobody = 65534
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	}
	out, err := cmd.CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

// publicFolder is a new folder that everybody may enter; those of the testing package are private.
func publicFolder(t *testing.T) string {
	t.Helper()
	folder := t.TempDir()
	check(t, os.Chmod(filepath.Dir(folder), 0o755))
	return folder
}

// copyOf copies a file into a public folder.
func copyOf(t *testing.T, path string, mode os.FileMode) string {
	t.Helper()
	in, err := os.Open(path)
	check(t, err)
	defer in.Close()
	out, err := os.OpenFile(filepath.Join(publicFolder(t), filepath.Base(path)), os.O_CREATE|os.O_WRONLY, mode)
	check(t, err)
	_, err = io.Copy(out, in)
	check(t, err)
	check(t, out.Close())
	return out.Name()
}

// TestReadersBesideTheWriter reads in this process and through other stores while
// observations, assessments and judgements are written. Under -race it is the test of locking.
func TestReadersBesideTheWriter(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes seconds")
	}
	path := filepath.Join(t.TempDir(), "peerscore.db")
	s := openPath(t, path, Options{})
	st := passive(s)
	command, err := OpenReader(t.Context(), path)
	check(t, err)
	defer command.Close()

	stop := make(chan struct{})
	var readers, writers sync.WaitGroup
	for _, read := range []func(d dnsname.Domain) error{
		func(d dnsname.Domain) error { st.Standing(t.Context(), d); return nil },
		func(d dnsname.Domain) error { _, err := s.Evidence(t.Context(), d, noon, day); return err },
		func(d dnsname.Domain) error { _, err := command.Peers(t.Context(), Filter{Sort: "seen"}); return err },
		func(d dnsname.Domain) error { _, err := command.History(t.Context(), d); return err },
		func(d dnsname.Domain) error { s.CountUnauthenticated(d); return nil },
		func(d dnsname.Domain) error { _, err := st.Rejudge(t.Context()); return err },
	} {
		readers.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				if err := read(crashDomain(i % 8)); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for writer := range 8 {
		writers.Go(func() {
			for i := range 100 {
				add(t, s, observe(crashDomain(writer), fmt.Sprintf("192.0.2.%d", i%5)))
				if i%25 > 0 {
					continue
				}
				if err := errors.Join(s.SaveAssessment(t.Context(), assessed(crashDomain(writer), noon)), s.Prune(t.Context(), noon)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	writers.Wait()
	close(stop)
	readers.Wait()
	check(t, s.write(t.Context(), func(*tx) error { return nil })) // what was not confirmed is written before
	for writer := range 8 {
		if got := tally(t, s, crashDomain(writer)).Credited(); got != 100 {
			t.Errorf("%s has %d sessions, want 100", crashDomain(writer), got)
		}
	}
}
