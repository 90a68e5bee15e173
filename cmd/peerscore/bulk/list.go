package bulk

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"peerscore/assess"
	"peerscore/assess/dnsname"
	"peerscore/cmd/peerscore/view"
)

// maxListLine is what is read of a line: no address is longer (RFC 5321, section 4.5.3.1).
const maxListLine = 4096

// listRun is one run over a list of domains.
type listRun struct {
	*Bulk
	progress *progress
	stop     context.CancelCauseFunc

	mu      sync.Mutex // held for each line of output
	over    bool
	outcome Outcome
}

// Outcome is what became of a list.
type Outcome struct {
	Assessed int
	Failures int   // domains that could not be assessed or stored
	Absent   int   // names that do not exist
	Invalid  int   // lines that were no domains
	Reading  error // why the list was not read to its end
}

// listItem is one domain of a list, and the octets of the list that end with it.
type listItem struct {
	domain dnsname.Domain
	octets int64
}

// Many probes every domain of a list and prints results as they come. The list is read as the
// run goes on. A line that is no domain is named and passed over. The error is
// why the run did not come to the end of its list.
//
// Every domain that was stored has been printed, be the run interrupted or not: so --skip-fresh
// goes on where it stopped, and neither loses a domain nor prints one again.
func (b *Bulk) Many(ctx context.Context, in io.Reader) (Outcome, error) {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	r := &listRun{stop: stop, progress: newProgress(b.Console, in)}
	list := *b // the reader may outlive the run, which must not change what others write to
	list.Console, r.Bulk = r.progress.Console, &list
	work, read := make(chan listItem), make(chan error, 1)
	go func() { // nothing ends a read from a terminal
		read <- r.read(ctx, in, work)
		close(work)
	}()
	var workers sync.WaitGroup
	for range b.options.Jobs {
		workers.Go(func() { r.work(ctx, work) })
	}
	workers.Wait()
	r.mu.Lock()
	r.over = true
	r.mu.Unlock()
	r.progress.stop()
	if ctx.Err() != nil {
		return r.outcome, r.broken(context.Cause(ctx))
	}
	r.outcome.Reading = <-read
	return r.outcome, nil
}

// work assesses domains until there are no more.
func (r *listRun) work(ctx context.Context, work <-chan listItem) {
	for {
		select {
		case item, more := <-work:
			if !more {
				return
			}
			result, err := r.run(ctx, item.domain)
			r.tell(ctx, item.domain, result, err)
			r.progress.advance(item.octets, 1)
		case <-ctx.Done():
			return
		}
	}
}

// tell prints the result of one domain. One that was cut short by an interruption has none.
func (r *listRun) tell(ctx context.Context, d dnsname.Domain, result view.Report, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case err == nil, errors.Is(err, assess.ErrNothingMeasured):
		r.outcome.Assessed++
		if err := r.writeResult(d, result); err != nil {
			r.stop(outputError{err})
		}
	case errors.Is(err, assess.ErrNoSuchDomain):
		r.outcome.Absent++
		r.complain("%s: %v", d, assess.ErrNoSuchDomain)
	case ctx.Err() == nil:
		r.outcome.Failures++
		r.complain("%s: %v", d, err)
	}
}

// writeResult prints one line.
func (b *Bulk) writeResult(d dnsname.Domain, result view.Report) error {
	if b.options.JSON {
		return view.WriteJSONLine(b.Out, result.JSON(false))
	}
	_, err := fmt.Fprintf(b.Out, "%-40s %-8s %4s %4s %4s\n", d, result.Status,
		view.Number(result.Scores[assess.Confidentiality]), view.Number(result.Scores[assess.Identity]), view.Number(result.Scores[assess.Integrity]))
	return err
}

// read hands over the domains of a list, one a line, each once, in the order of the list. The
// error is that of reading.
func (r *listRun) read(ctx context.Context, in io.Reader, work chan<- listItem) error {
	lines := lineReader{r: bufio.NewReaderSize(in, 64<<10)}
	seen := make(map[[16]byte]struct{}) // of digests: a list may have millions
	for ctx.Err() == nil {
		line, err := lines.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil && !errors.Is(err, errLongLine) {
			return fmt.Errorf("reading the list: line %d: %w", lines.number, err)
		}
		d, err := r.parse(line, err)
		digest := sha256.Sum256([]byte(d))
		key := [16]byte(digest[:])
		_, twice := seen[key]
		switch {
		case err != nil:
			r.refuse(lines.number, err)
		case d != "" && !twice:
			seen[key] = struct{}{}
			if r.fresh(ctx, d) {
				break
			}
			select {
			case work <- listItem{d, lines.octets}:
				lines.octets = 0
			case <-ctx.Done():
			}
			continue
		}
		r.progress.advance(lines.octets, 0)
		lines.octets = 0
	}
	return nil
}

// parse reads one line, which may come with an error; "" is a line without a domain.
func (r *listRun) parse(line string, problem error) (dnsname.Domain, error) {
	text, _, comment := strings.Cut(line, "#")
	text = strings.TrimSpace(text)
	switch {
	case text == "" && (comment || problem == nil):
		return "", nil
	case problem != nil && !comment:
		return "", problem
	}
	d, err := dnsname.ParseAddressOrDomain(text)
	if err != nil {
		return "", err
	}
	return d, r.assessor.Eligible(d)
}

// refuse names a line that is no domain.
func (r *listRun) refuse(number int, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.over {
		return
	}
	r.outcome.Invalid++
	r.complain("line %d: %v", number, err)
}

func (b *Bulk) fresh(ctx context.Context, d dnsname.Domain) bool {
	if !b.options.SkipFresh {
		return false
	}
	peer, err := b.store.Peer(ctx, d)
	return err == nil && time.Since(peer.Assessed) < time.Duration(b.config.Assess.MaxAge)
}

// outputError is what ends a run whose results cannot be printed.
type outputError struct{ error }

func (e outputError) Error() string { return "cannot write the output: " + e.error.Error() }

// broken is the error of a run that did not come to the end of its list.
func (r *listRun) broken(cause error) error {
	if f := (outputError{}); errors.As(cause, &f) {
		return f
	}
	resumption := ""
	if r.store != nil {
		resumption = "; --skip-fresh goes on from there"
	}
	return fmt.Errorf("interrupted after %d domains%s", r.outcome.Assessed, resumption)
}

// errLongLine comes with the beginning of the line.
var errLongLine = fmt.Errorf("longer than %d octets", maxListLine)

// lineReader reads lines of any length and keeps maxListLine octets of each.
type lineReader struct {
	r      *bufio.Reader
	number int   // of the line last read
	octets int64 // read since somebody set it to 0
}

// next is the next line without its end and without a byte order mark.
func (l *lineReader) next() (string, error) {
	l.number++
	var line []byte
	for {
		part, err := l.r.ReadSlice('\n')
		l.octets += int64(len(part))
		line = append(line, part[:min(len(part), maxListLine+2-len(line))]...)
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case errors.Is(err, io.EOF) && len(line) > 0, err == nil: // the last line may have no end
		default:
			return "", err
		}
		break
	}
	if l.number == 1 {
		line = bytes.TrimPrefix(line, []byte("\ufeff"))
	}
	line = bytes.TrimRight(line, "\r\n")
	if len(line) > maxListLine {
		return string(line[:maxListLine]), errLongLine
	}
	return string(line), nil
}
