package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"peerscore/assess"
	"peerscore/assess/probe"
	"peerscore/store"
)

// assessOptions are the flags of `assess`.
type assessOptions struct {
	file      string
	jobs      int
	noStore   bool
	skipFresh bool
}

func (a *app) assessCommand() *cobra.Command {
	var o assessOptions
	cmd := &cobra.Command{
		Use:   "assess DOMAIN... | assess -f FILE",
		Short: "Probe domains now, print the result and store it",
		Long: `Probe domains now, print the result and store it.

With -f, domains are read from a file or standard input, one a line; blank lines and what
follows a # are passed over. Results are printed as they come, one line each, or with --json
one object a line. --skip-fresh leaves out domains assessed within assess.max_age, so that an
interrupted run can be started again. Each MX address is asked once, whatever the number of
domains on it.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if (len(args) == 0) == (o.file == "") {
				return fail(exitUsage, "name domains, or a file of them with -f")
			}
			if o.jobs < 1 || o.jobs > 2000 {
				return fail(exitUsage, "--jobs must be between 1 and 2000")
			}
			return a.assess(cmd.Context(), args, o)
		},
	}
	flags := cmd.Flags()
	flags.StringVarP(&o.file, "file", "f", "", "read domains from `FILE`, - for standard input")
	flags.IntVar(&o.jobs, "jobs", 64, "assess `N` domains at once")
	flags.BoolVar(&o.noStore, "no-store", false, "do not store what was found")
	flags.BoolVar(&o.skipFresh, "skip-fresh", false, "leave out domains assessed within assess.max_age")
	return cmd
}

func (a *app) assess(ctx context.Context, args []string, o assessOptions) error {
	b, err := a.newBulk(ctx, o)
	if err != nil {
		return err
	}
	defer b.close()
	if o.file == "" {
		return b.few(ctx, args)
	}
	in, err := a.open(o.file)
	if err != nil {
		return failure{exitUsage, err}
	}
	defer in.Close()
	return b.many(ctx, in)
}

func (a *app) open(path string) (io.ReadCloser, error) {
	if path == "-" {
		return io.NopCloser(a.in), nil
	}
	return os.Open(path)
}

// bulk assesses domains for the operator.
type bulk struct {
	*app
	options  assessOptions
	config   Config
	store    *store.Store // nil with --no-store
	assessor *assess.Assessor
}

func (a *app) newBulk(ctx context.Context, o assessOptions) (*bulk, error) {
	config, err := a.config()
	if err != nil {
		return nil, err
	}
	logger := a.logger(config)
	b := &bulk{app: a, options: o, config: config}
	r, err := newResolver(config, logger)
	if err != nil {
		return nil, err
	}
	r.SelfTest(ctx) // without it no answer is known to be insecure
	if !o.noStore {
		if b.store, err = store.Open(ctx, config.Store.Path, config.storeOptions(logger)); err != nil {
			return nil, fail(exitUnavailable, "cannot write the database: %w; --no-store probes without one", err)
		}
	}
	// The operator's command, be it for one domain or a list, has budgets of its own.
	b.assessor, err = newAssessor(config, logger, b.store, r, a.around, probe.BulkLimits())
	if err != nil {
		b.close()
		return nil, err
	}
	if b.store == nil {
		b.assessor.Repository = forgetful{}
	}
	return b, nil
}

func (b *bulk) close() {
	if b.store != nil {
		if err := b.store.Close(); err != nil {
			fmt.Fprintf(b.err, "peerscore: closing the database: %v\n", err)
		}
	}
}

// run assesses one domain. A run that measured nothing still has what is known.
func (b *bulk) run(ctx context.Context, d assess.Domain) (r report, err error) {
	if err := b.assessor.Eligible(d); err != nil {
		return r, err
	}
	if b.store == nil {
		r.Assessment, err = b.assessor.Measure(ctx, d)
		return r, err
	}
	r.Assessment, err = b.assessor.Assess(ctx, d)
	if err == nil || errors.Is(err, assess.ErrNothingMeasured) {
		// The daemon need not do it again before it is due.
		r.Next = b.config.schedule().Next(r.Assessment, err, time.Now(), 0.5)
		err = errors.Join(err, b.store.Postpone(ctx, d, r.Next))
	}
	return r, err
}

// few probes the domains of the command line and prints summaries.
func (b *bulk) few(ctx context.Context, args []string) error {
	domains, err := parseDomains(args)
	if err != nil {
		return err
	}
	var reports []report
	var failed error
	for _, d := range domains {
		result, err := b.run(ctx, d)
		switch {
		case errors.Is(err, assess.ErrNotPeer):
			return failure{exitUsage, err}
		case errors.Is(err, assess.ErrNothingMeasured):
			fmt.Fprintf(b.err, "peerscore: %s: %v\n", d, err)
		case err != nil:
			failed = failure{exitUnavailable, fmt.Errorf("%s: %w", d, err)}
			continue
		}
		reports = append(reports, result)
	}
	if err := b.writeReports(reports, len(domains) > 1); err != nil {
		return err
	}
	return failed
}

// many probes every domain of a list and prints results as they come. A line that is no domain
// is named and passed over, and makes the exit status 2.
func (b *bulk) many(ctx context.Context, in io.Reader) error {
	lines, invalid, err := b.readList(ctx, in)
	if err != nil {
		return err
	}
	bar, done := b.progressBar(len(lines))
	work := make(chan assess.Domain)
	var workers sync.WaitGroup
	var output sync.Mutex
	failures := 0
	for range min(b.options.jobs, len(lines)) {
		workers.Go(func() {
			for d := range work {
				result, err := b.run(ctx, d)
				output.Lock()
				if ctx.Err() == nil && !b.writeResult(d, result, err) {
					failures++
				}
				output.Unlock()
				bar.Increment()
			}
		})
	}
feed:
	for _, d := range lines {
		select {
		case work <- d:
		case <-ctx.Done():
			break feed
		}
	}
	close(work)
	workers.Wait()
	done()
	switch {
	case ctx.Err() != nil:
		return fail(exitUnavailable, "interrupted; start again with --skip-fresh to go on")
	case failures > 0:
		return fail(exitUnavailable, "%d of %d domains could not be assessed or stored", failures, len(lines))
	case invalid > 0:
		return fail(exitUsage, "%d lines were no domains", invalid)
	}
	return nil
}

// readList reads domains, one a line, each once, in the order of the list.
func (b *bulk) readList(ctx context.Context, in io.Reader) (list []assess.Domain, invalid int, err error) {
	seen := map[assess.Domain]bool{}
	scanner := bufio.NewScanner(in)
	for n := 1; scanner.Scan(); n++ {
		line, _, _ := strings.Cut(scanner.Text(), "#")
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		d, err := assess.ParseAddressOrDomain(line)
		if err == nil {
			err = b.assessor.Eligible(d)
		}
		if err != nil {
			invalid++
			fmt.Fprintf(b.err, "peerscore: line %d: %s\n", n, printable(err.Error()))
			continue
		}
		if !seen[d] && !b.fresh(ctx, d) {
			list = append(list, d)
		}
		seen[d] = true
	}
	if err := scanner.Err(); err != nil {
		return nil, 0, fail(exitUsage, "reading the list: %w", err)
	}
	return list, invalid, nil
}

func (b *bulk) fresh(ctx context.Context, d assess.Domain) bool {
	if !b.options.skipFresh || b.store == nil {
		return false
	}
	peer, err := b.store.Peer(ctx, d)
	return err == nil && time.Since(peer.Assessed) < time.Duration(b.config.Assess.MaxAge)
}

// progressBar draws on a terminal only; done removes it.
func (b *bulk) progressBar(total int) (bar *mpb.Bar, done func()) {
	out := io.Discard
	if b.progress {
		out = b.err
	}
	p := mpb.New(mpb.WithOutput(out), mpb.WithWidth(40))
	bar = p.AddBar(int64(total), mpb.BarRemoveOnComplete(),
		mpb.PrependDecorators(decor.CountersNoUnit("%d of %d domains ")),
		mpb.AppendDecorators(decor.AverageSpeed(0, "%.0f/s "), decor.AverageETA(decor.ET_STYLE_GO)))
	return bar, func() {
		bar.Abort(true)
		p.Wait()
	}
}

// writeResult prints one line; it tells whether the assessment was made and stored.
func (b *bulk) writeResult(d assess.Domain, result report, err error) bool {
	if err != nil && !errors.Is(err, assess.ErrNothingMeasured) {
		fmt.Fprintf(b.err, "peerscore: %s: %s\n", d, printable(err.Error()))
		return false
	}
	if b.json {
		return writeJSONLine(b.out, result.json(false)) == nil
	}
	_, err = fmt.Fprintf(b.out, "%-40s %-8s %4s %4s %4s\n", d, result.Status,
		number(result.Scores[assess.Confidentiality]), number(result.Scores[assess.Identity]), number(result.Scores[assess.Integrity]))
	return err == nil
}

// forgetful is the repository of --no-store: it knows nothing and keeps nothing.
type forgetful struct{}

func (forgetful) Evidence(_ context.Context, _ assess.Domain, _ time.Time, window time.Duration) (assess.Evidence, error) {
	return assess.Evidence{Tally: assess.Tally{Window: window}}, nil
}

func (forgetful) SaveAssessment(context.Context, assess.Assessment) error { return nil }
