package assess

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"peerscore/assess/dnsname"
)

// MaxRun is how long one probe run may take; what is not measured by then is unknown.
const MaxRun = 5 * time.Minute

// DefaultWindow is how far back sessions count.
const DefaultWindow = 30 * 24 * time.Hour

var (
	// ErrNothingMeasured means that a run learned nothing at all, as when our own network is
	// down. What was known before stands as it was.
	ErrNothingMeasured = errors.New("nothing could be measured")
	// ErrNotPeer means that the domain is never probed.
	ErrNotPeer = errors.New("not assessed")
)

// Assessor turns a domain into an assessment: it collects the evidence, judges it and keeps it.
type Assessor struct {
	Prober     Prober
	Repository Repository
	Profile    Profile
	Rules      Rules
	Window     time.Duration    // 0 means DefaultWindow
	Deny       []dnsname.Domain // never probed, nor anything below them
	Bulk       bool             // works through a list of the operator's; see Freeze
	Now        func() time.Time // nil means time.Now
	Logger     *slog.Logger     // nil means none

	freezer Freezer
}

// Eligible reports whether the domain may be probed: the error wraps ErrNotPeer.
func (a *Assessor) Eligible(d dnsname.Domain) error {
	if err := d.CheckPeer(); err != nil {
		return fmt.Errorf("%w: %w", ErrNotPeer, err)
	}
	for _, denied := range a.Deny {
		if d.Within(denied) {
			return fmt.Errorf("%w: %s is listed in assess.deny_domains", ErrNotPeer, d)
		}
	}
	return nil
}

// Assess measures the domain now and saves the assessment.
//
// A run that learned nothing at all saves nothing while older facts are younger than KeepFor:
// it returns the assessment that stands, and an error that wraps ErrNothingMeasured.
func (a *Assessor) Assess(ctx context.Context, d dnsname.Domain) (Assessment, error) {
	return a.assess(ctx, d, MaxRun)
}

func (a *Assessor) assess(ctx context.Context, d dnsname.Domain, limit time.Duration) (Assessment, error) {
	result, err := a.measure(ctx, d, limit)
	if err != nil {
		return result, err
	}
	// What was measured is saved, whenever the context ends: the caller learns which it was.
	if err := a.Repository.SaveAssessment(context.WithoutCancel(ctx), result); err != nil {
		return result, fmt.Errorf("saving the assessment of %s: %w", d, err)
	}
	return result, nil
}

// Measure is Assess without saving.
func (a *Assessor) Measure(ctx context.Context, d dnsname.Domain) (Assessment, error) {
	return a.measure(ctx, d, MaxRun)
}

func (a *Assessor) measure(ctx context.Context, d dnsname.Domain, limit time.Duration) (Assessment, error) {
	if err := a.Eligible(d); err != nil {
		return Assessment{}, err
	}
	began := a.now()
	evidence, err := a.evidence(ctx, d)
	if err != nil {
		return Assessment{}, err
	}
	facts, err := a.probe(ctx, d, evidence.Tally.Selectors, limit)
	if err != nil {
		return Assessment{}, err
	}
	old := evidence.Facts
	facts.lookAgain(old)
	if !facts.measured() && old != nil && facts.At.Sub(old.At).Abs() <= KeepFor {
		return a.conclude(d, evidence), fmt.Errorf("%w of %s; the results of %s stand", ErrNothingMeasured, d, day(old.At))
	}
	facts = facts.Keeping(old)
	if err := a.freeze(ctx, &facts, evidence); err != nil {
		return a.conclude(d, evidence), err
	}
	facts = facts.Bounded()
	evidence.Facts = &facts
	result := a.conclude(d, evidence)
	a.log(ctx, result, a.now().Sub(began))
	return result, nil
}

// Current judges the stored facts with the sessions of today. It does not touch the network.
func (a *Assessor) Current(ctx context.Context, d dnsname.Domain) (Assessment, error) {
	evidence, err := a.evidence(ctx, d)
	if err != nil {
		return Assessment{}, err
	}
	return a.conclude(d, evidence), nil
}

func (a *Assessor) evidence(ctx context.Context, d dnsname.Domain) (Evidence, error) {
	window := a.Window
	if window == 0 {
		window = DefaultWindow
	}
	evidence, err := a.Repository.Evidence(ctx, d, a.now(), window)
	if err != nil {
		return Evidence{}, fmt.Errorf("reading the evidence of %s: %w", d, err)
	}
	return evidence, nil
}

// probe runs the prober within a limit of time. Facts of a run that we broke off ourselves say nothing
// about the peer: they are an error.
func (a *Assessor) probe(ctx context.Context, d dnsname.Domain, selectors []Selector, limit time.Duration) (Facts, error) {
	run, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	facts, err := a.Prober.Probe(run, d, selectors)
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return Facts{}, fmt.Errorf("probing %s: %w", d, err)
	}
	return facts, nil
}

func (a *Assessor) conclude(d dnsname.Domain, e Evidence) Assessment {
	return Conclude(d, e, a.Profile, a.Rules, a.now())
}

func (a *Assessor) log(ctx context.Context, result Assessment, took time.Duration) {
	if a.Logger == nil {
		return
	}
	attrs := []any{"domain", result.Domain, "status", result.Status, "took", took.Round(time.Millisecond)}
	for _, c := range Categories {
		if score := result.Scores[c]; score.Known {
			attrs = append(attrs, string(c), score.Stars)
		}
	}
	if n := len(result.Evidence.Facts.Kept); n > 0 {
		attrs = append(attrs, "kept", n)
	}
	a.Logger.InfoContext(ctx, "assessed", attrs...)
}

func (a *Assessor) now() time.Time {
	if a.Now == nil {
		return time.Now()
	}
	return a.Now()
}
