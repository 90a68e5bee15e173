package store

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"time"

	"peerscore/assess"
)

const (
	maxPending = 1024            // jobs that wait for the writer; the milter has 500 sessions
	flushEvery = 5 * time.Second // counts of messages without proof wait so long at most

	reopenEvery = 10 * time.Second      // a file that was opened for reading only is tried again
	busyPause   = 10 * time.Millisecond // before another try where SQLite itself does not wait
)

// writer owns the connection that writes. Whatever is pending when one transaction ends goes
// into the next; nobody waits for company.
type writer struct {
	*Store
	file *file
	jobs chan job
	stop sync.Once
	quit chan struct{} // closed by close
	done chan struct{} // closed when run has ended

	domains int // rows in table domain; -1: not counted
	stall   stall
	health  health

	reopened time.Time // when reopen tried last
	marked   time.Time // when the epoch was counted up last
	logLong  bool      // what our log says of the -wal file
	leaving  damage    // of the file that is to be left once nobody reads it any more

	ctx        context.Context // ends with close
	cancel     context.CancelFunc
	suspicions chan error // what readers say of a corrupt file
	examined   time.Time  // when examine last found a file sound, or could not replace it
	condemned  error      // why the file is not written: it is corrupt and could not be replaced
}

// job is one observation, or else one function of the transaction.
type job struct {
	observation *assess.Observation
	do          func(*tx) error
	done        chan error // room for one
}

func newWriter(s *Store, f *file) *writer {
	ctx, cancel := context.WithCancel(context.Background())
	return &writer{
		Store: s, file: f, domains: -1,
		jobs: make(chan job, maxPending), quit: make(chan struct{}), done: make(chan struct{}),
		ctx: ctx, cancel: cancel, suspicions: make(chan error, 1),
	}
}

// submit hands a job to the writer and waits until it is committed.
func (s *Store) submit(ctx context.Context, j job) error {
	w := s.writer
	if w == nil {
		return ErrReadOnly
	}
	j.done = make(chan error, 1)
	select {
	case <-w.quit:
		return ErrClosed
	default:
	}
	select {
	case w.jobs <- j:
	default:
		return ErrOverloaded
	}
	var stalled <-chan struct{} // functions wait: they belong to no message
	var waited <-chan time.Time
	if j.observation != nil {
		stalled, waited = w.stall.reached(), time.After(patience) // which may be in the middle of a transaction
	}
	select {
	case err := <-j.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	case <-stalled:
		return ErrUnconfirmed
	case <-waited:
		return ErrUnconfirmed
	case <-w.done:
	}
	select { // the writer has ended: with this job, or before it saw it
	case err := <-j.done:
		return err
	default:
		return ErrClosed
	}
}

// write runs do in a transaction. What do returns is returned, and undoes what do wrote. Once
// write has returned do does not run any more, whatever the error is.
func (s *Store) write(ctx context.Context, do func(*tx) error) error {
	var running sync.Mutex
	var given error // why nobody waits for do any more
	err := s.submit(ctx, job{do: func(t *tx) error {
		running.Lock()
		defer running.Unlock()
		if given != nil {
			return given
		}
		return do(t)
	}})
	running.Lock()
	given = err
	running.Unlock()
	return err
}

// run writes until close. A file that Open had no time to check is checked meanwhile.
func (w *writer) run(checked bool) {
	defer close(w.done)
	if w.options.SetAside && !checked {
		var checking sync.WaitGroup
		checking.Go(w.checkOn)
		defer checking.Wait()
	}
	ticker := time.NewTicker(flushEvery)
	defer ticker.Stop()
	for {
		select {
		case j := <-w.jobs:
			runtime.Gosched() // who is about to submit comes along
			w.commit(j)
		case cause := <-w.suspicions:
			w.watched(func() { w.examine(cause) })
		case <-ticker.C:
			w.watched(func() { _, _ = w.follow() }) // the next transaction has the error too
			if w.spoofs.pending() {
				w.commit()
			}
		case <-w.quit:
			w.commit(w.pending()...) // which answers all of them, even if it cannot begin
			w.reportLost()
			return
		}
	}
}

// pending adds to jobs all that wait now, as far as there may be as many.
func (w *writer) pending(jobs ...job) []job {
	for len(jobs) <= maxPending {
		select {
		case j := <-w.jobs:
			jobs = append(jobs, j)
		default:
			return jobs
		}
	}
	return jobs
}

func (w *writer) close() error {
	w.stop.Do(func() { close(w.quit); w.cancel() })
	<-w.done
	return w.file.close()
}

// watched does what may take longer than sessions can wait.
func (w *writer) watched(do func()) {
	defer w.stall.watch()()
	do()
}

// commit writes the jobs, and all that wait by then, in one transaction and answers them. Whoever
// is answered does not find the writer at that transaction any more.
func (w *writer) commit(jobs ...job) {
	var results []error
	var err error
	w.watched(func() { jobs, results, err = w.conclude(jobs) })
	answer(jobs, results, err)
	if isCorrupt(err) {
		w.watched(func() { w.examine(err) })
	}
}

// conclude writes the jobs and notes what came of it.
func (w *writer) conclude(jobs []job) (_ []job, results []error, err error) {
	t, jobs, results, err := w.transact(jobs)
	if err == nil {
		w.domains = t.domains
		w.spoofs.flushed()
		w.changed(t.changed)
		w.counts.commits.Add(1)
	} else {
		w.domains = -1
	}
	w.account(jobs, err)
	if isReadOnly(err) {
		w.reopen()
	}
	return jobs, results, err
}

// begin opens the transaction and returns the jobs for it. What cannot be written because
// another process has the file locked for longer than busyTimeout fails; all others wait in
// the queue, for as long as it has it, until the store is closed.
func (w *writer) begin(t *tx, jobs []job) ([]job, error) {
	err := t.begin()
	for isBusy(err) && !w.closing() {
		w.account(jobs, err)
		answer(jobs, nil, err)
		jobs = nil
		time.Sleep(busyPause)
		err = t.begin()
	}
	return w.pending(jobs...), err
}

func (w *writer) closing() bool {
	select {
	case <-w.quit:
		return true
	default:
		return false
	}
}

// account counts the observations of a transaction as committed or lost.
func (w *writer) account(jobs []job, err error) {
	n := &w.counts.committed
	if err != nil {
		n = &w.counts.lost
	}
	for _, j := range jobs {
		if j.observation != nil {
			n.Add(1)
		}
	}
	w.report(err)
}

// answer tells the jobs of a transaction what became of it.
func answer(jobs []job, results []error, err error) {
	for i, j := range jobs {
		if err != nil {
			j.done <- fmt.Errorf("writing the database: %w", err)
		} else {
			j.done <- results[i]
		}
	}
}

// transact writes the jobs, and all that wait by then, in one transaction of the file that is
// at the path when it is committed: once more where that is another one by then.
func (w *writer) transact(jobs []job) (t *tx, _ []job, results []error, err error) {
	_, err = w.follow()
	for again := true; again && err == nil; {
		if w.condemned != nil {
			return t, jobs, nil, w.condemned
		}
		if err := w.logFull(); err != nil {
			return t, jobs, nil, err
		}
		t = &tx{conn: w.file.conn, limits: w.options.Limits, domains: w.domains}
		var failed error
		jobs, failed = w.begin(t, jobs)
		results = make([]error, len(jobs))
		if failed == nil {
			failed = t.finish(w.fill(t, jobs, results))
		}
		if failed == nil && t.marked {
			w.file.known.epoch, w.marked = t.epoch, w.now()
		}
		if again, err = w.follow(); !again && err == nil {
			err = failed
		}
	}
	return t, jobs, results, err
}

// fill does the work of the transaction. An error undoes it all; an error of one function
// undoes that function alone and stands in results.
func (w *writer) fill(t *tx, jobs []job, results []error) error {
	if w.now().Sub(w.marked).Abs() >= markEvery {
		if err := t.mark(); err != nil {
			return err
		}
	}
	b := newBatch(t)
	for i, j := range jobs {
		if j.observation != nil {
			if err := b.add(*j.observation); err != nil {
				return err
			}
			continue
		}
		if results[i] = t.nested(j.do); isFatal(results[i]) {
			return results[i]
		}
	}
	if err := b.flush(); err != nil {
		return err
	}
	if err := t.boundDomains(); err != nil {
		return err
	}
	return w.spoofs.flush(t, w.now())
}

// reopen takes the file again: what SQLite could only open for reading, on a file system that
// was read-only then, it never writes. The old connections go first, for they share that
// knowledge with new ones. A file that cannot be opened because it is corrupt is set aside.
func (w *writer) reopen() {
	now := w.now()
	if now.Sub(w.reopened) < reopenEvery {
		return
	}
	w.reopened = now
	if !w.file.drain() {
		return
	}
	_ = w.file.close()
	f, _, err := w.openOrSetAside(context.Background(), checkTime)
	if isCorrupt(err) { // and cannot be replaced; to find out again takes long
		w.reopened = now.Add(examineEvery - reopenEvery)
	}
	if err == nil {
		w.change(f)
	}
}

// change goes on with another file; how the old one closes tells nothing any more.
func (w *writer) change(f *file) {
	old := w.file
	w.file, w.domains = f, -1
	w.read.Store(f.read)
	_ = old.close()
}
