package probe

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"peerscore/assess"
	"peerscore/assess/dkim"
	"peerscore/assess/probe/resolver"
)

// bimiQueries is what a run may send beside Limits.Queries: one, and what it takes to ask again.
const bimiQueries = 4

// probeBIMI reads the assertion record of draft-brand-indicators-for-message-identification for the
// selector that applies where a message names none. The question has a budget of its own: one that
// no score asks for takes the place of none that is scored.
func probeBIMI(ctx context.Context, t *Target, f *assess.Facts) {
	name := "default._bimi." + string(t.Domain)
	defer t.trace.begin(stageOf(name, resolver.TXT), "")()
	answer := t.runner.env.Resolver.Limited(bimiQueries, t.runner.queries).Query(ctx, name, resolver.TXT)
	f.BIMI.Lookup = fact(answer)
	if answer.Status != resolver.Found {
		return
	}
	var records []string
	for _, txt := range answer.Records {
		first, _, _ := strings.Cut(txt, ";")
		if tags, _ := dkim.ParseTags(first); tags["v"] == "BIMI1" {
			records = append(records, txt)
		}
	}
	switch len(records) {
	case 0:
		f.BIMI.Valid = assess.Check{Result: assess.Fail, Reason: assess.ReasonBIMIAbsent, Detail: "no TXT record begins with v=BIMI1;"}
	case 1:
		f.BIMI.Valid, f.BIMI.Location, f.BIMI.Evidence = parseBIMI(records[0])
	default:
		f.BIMI.Valid = assess.Check{Result: assess.Fail, Reason: assess.ReasonBIMIInvalid, Detail: fmt.Sprintf("%d BIMI records, of which none counts", len(records))}
	}
}

// parseBIMI reads an assertion record: a tag-list (RFC 6376, section 3.2) with the locations of the
// picture, which is required, and of the evidence. Tags that are not known are ignored; with
// both locations empty the owner declines.
func parseBIMI(record string) (check assess.Check, location, evidence string) {
	fail := func(err error) (assess.Check, string, string) {
		return assess.Check{Result: assess.Fail, Reason: assess.ReasonBIMIInvalid, Detail: err.Error()}, "", ""
	}
	tags, err := dkim.ParseTags(record)
	switch {
	case errors.Is(err, dkim.ErrTooManyTags): // a limit of ours
		return assess.Check{Reason: assess.ReasonLimitExceeded, Detail: err.Error()}, "", ""
	case err != nil:
		return fail(err)
	}
	location, located := tags["l"]
	evidence = tags["a"]
	if !located {
		return fail(errors.New("the location of the picture (l=) is missing"))
	}
	for _, uri := range []string{location, evidence} {
		if err := checkBIMILocation(uri); err != nil {
			return fail(err)
		}
	}
	if location == "" && evidence == "" {
		return assess.Check{Result: assess.NotApplicable, Reason: assess.ReasonBIMIDeclined, Detail: "the owner declines to have a picture beside its mail"}, "", ""
	}
	return assess.Check{Result: assess.Pass}, location, evidence
}

// checkBIMILocation wants nothing, or one URI of https with a host, its commas encoded.
func checkBIMILocation(uri string) error {
	if uri == "" {
		return nil
	}
	if parsed, err := url.Parse(uri); err != nil || parsed.Scheme != "https" || !strings.Contains(parsed.Hostname(), ".") || strings.Contains(uri, ",") {
		return fmt.Errorf("%.80q is not one https URI with the name of a host", uri)
	}
	return nil
}
