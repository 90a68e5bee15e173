package milter

import (
	"slices"
	"strconv"
	"strings"

	"github.com/emersion/go-msgauth/authres"

	"peerscore/assess"
	"peerscore/assess/dnsname"
	"peerscore/assess/spf"
)

// barFields is the category that each of ownFields shows as a bar.
var barFields = [...]assess.Category{1: assess.Confidentiality, 2: assess.Identity, 3: assess.Integrity}

// lineLength is where fields are folded (RFC 5322, section 2.1.1).
const lineLength = 78

// change is one change of a header: a field to insert at the top, or, with an index, the
// field of that name to delete, counted from 1.
type change struct {
	index       int
	name, value string
}

// What an MTA is asked to delete from one message (assess/probe/limits.md, section 1). For each
// field Postfix reads the header from its top, so that the cost also grows with the header: of a
// million lines it is about a tenth of a second.
const (
	maxRemovals  = 100     // fields
	maxLinesRead = 1 << 20 // lines of the header times fields
	lineOctets   = 256     // of the header count as a further line
)

// changes are those of the whole message in the order in which they must be made: what is not
// ours goes, last to first so that the indexes stay right, then ours is put on top.
//
// Where more is not ours than may be removed, nothing is removed, and the message is never
// dressed: on top stands that its score is unknown, whatever the policy says, because filters
// rely on that. Half a removal would leave them less to rely on.
func (m *mail) changes(d decision, a authentication, standing assess.Standing) (list []change, left int) {
	list, left = m.removals()
	if m.internal && left == 0 {
		return list, 0
	}
	if left > 0 {
		d = decision{row: d.row, status: statusUnknown}
	}
	var fields []change
	if m.policy.Score || left > 0 {
		fields = append(fields, change{name: ownFields[0], value: m.score(d, standing)})
	}
	if m.policy.Bars && d.status == statusNone {
		fields = append(fields, bars(standing.Scores)...)
	}
	if m.policy.AuthenticationResults && m.examined {
		fields = append(fields, change{name: resultsField, value: m.authenticationResults(a)})
	}
	for i := len(fields) - 1; i >= 0; i-- {
		list = append(list, fields[i])
	}
	return list, left
}

// removals takes away every field that claims to be ours, unless a content filter of this
// host gives back a message that has been here: what it carries was put there then. Where that is
// too much to ask for, the list is empty, and left is how many there are.
func (m *mail) removals() (list []change, left int) {
	if m.internal && m.client.reentry() {
		return nil, 0
	}
	results := m.forgedResults()
	copies := len(results)
	for _, n := range m.header.copies {
		copies += n
	}
	if copies > maxRemovals || copies*(m.header.lines+m.header.size/lineOctets) > maxLinesRead {
		return nil, copies
	}
	for i, name := range ownFields {
		for n := m.header.copies[i]; n > 0; n-- {
			list = append(list, change{index: n, name: name})
		}
	}
	for _, n := range results {
		list = append(list, change{index: n, name: resultsField})
	}
	return list, 0
}

// forgedResults are the Authentication-Results that must go (RFC 8601, section 5), last first:
// they bear a name that is believed here, and are not the one that was read. Where we neither
// read nor write any, they are not ours to judge.
func (m *mail) forgedResults() []int {
	trusting := m.policy.Authentication == Trust
	if m.internal || !trusting && !m.policy.AuthenticationResults {
		return nil
	}
	var forged []int
	seen := map[string]bool{}
	for i, r := range m.header.results {
		read := trusting && m.policy.trusts(r.servID) && !seen[r.servID]
		seen[r.servID] = true
		if !read && (m.policy.trusts(r.servID) || r.servID == m.servID()) {
			forged = append(forged, i+1)
		}
	}
	for n := len(m.header.results) + 1; n <= m.header.resultCopies; n++ {
		forged = append(forged, n) // past the limits nobody looked at them
	}
	slices.Reverse(forged)
	return forged
}

// score is the value of Peer-Score. Every word of it is ours, a normalised domain, or a number.
func (m *mail) score(d decision, standing assess.Standing) string {
	parts := []string{m.servID()}
	if m.author != "" {
		parts = append(parts, "domain="+string(m.author))
	}
	status := d.status
	if status == statusNone && !standing.Scores.Known() {
		switch {
		case !standing.Known, standing.Status == assess.StatusPending:
			status = statusPending
		case standing.Status == assess.StatusNoMail:
			status = statusNoMail
		default:
			status = statusUnknown
		}
	}
	if status != statusNone {
		return fold(ownFields[0], append(parts, "status="+string(status)))
	}
	parts = append(parts, "proof="+d.proof.String())
	var partial []string
	for _, c := range assess.Categories {
		score := standing.Scores[c]
		parts = append(parts, string(c)+"="+stars(score))
		if score.Partial {
			partial = append(partial, string(c))
		}
	}
	if len(partial) > 0 {
		parts = append(parts, "partial="+strings.Join(partial, "+"))
	}
	parts = append(parts, "profile="+standing.Profile, "basis="+string(standing.Basis))
	if !standing.Assessed.IsZero() {
		parts = append(parts, "assessed="+standing.Assessed.UTC().Format("2006-01-02"))
	}
	return fold(ownFields[0], parts)
}

func stars(s assess.Score) string {
	if !s.Known {
		return "unknown"
	}
	return strconv.FormatFloat(s.Stars, 'f', -1, 64)
}

// bars are the fields with one asterisk a half star. No stars, no field: MTAs differ over
// fields without a value.
func bars(scores assess.Scores) []change {
	var list []change
	for i, category := range barFields {
		if score := scores[category]; category != "" && score.Known && score.Stars > 0 {
			list = append(list, change{name: ownFields[i], value: strings.Repeat("*", int(2*score.Stars))})
		}
	}
	return list
}

// authenticationResults is the value of our own field. It names domains, never an address.
func (m *mail) authenticationResults(a authentication) string {
	list := []authres.Result{&authres.SPFResult{Value: value(string(a.spf.Result)), From: domainOrNothing(a.spf, spf.MailFrom), Helo: domainOrNothing(a.spf, spf.HELO)}}
	for _, s := range a.signatures {
		list = append(list, &authres.DKIMResult{Value: value(s.finding.token), Domain: string(s.Domain)})
	}
	if len(a.signatures) == 0 {
		list = append(list, &authres.DKIMResult{Value: "none"})
	}
	list = append(list, &authres.DMARCResult{Value: value(a.dmarcResult), From: string(m.author)})
	text := strings.TrimRight(authres.Format(m.servID(), list), " ")
	return fold(resultsField, strings.Split(strings.ReplaceAll(text, " ;", ";"), "; "))
}

// value is a result that was not told as "temperror", the only word for it.
func value(result string) authres.ResultValue {
	if result == "" {
		result = "temperror"
	}
	return authres.ResultValue(result)
}

// domainOrNothing is the domain of the identity that was checked, where it is a proper one.
func domainOrNothing(o spf.Outcome, identity spf.Identity) string {
	d, err := dnsname.Parse(o.Domain)
	if err != nil || o.Identity != identity {
		return ""
	}
	return string(d)
}

// fold joins the parts of a value with semicolons and breaks the line before a part that
// would not fit.
func fold(name string, parts []string) string {
	var b strings.Builder
	column := len(name) + len(": ")
	for i, part := range parts {
		if i < len(parts)-1 {
			part += ";"
		}
		switch {
		case i > 0 && column+1+len(part) > lineLength:
			b.WriteString("\n ")
			column = 1
		case i > 0:
			b.WriteByte(' ')
			column++
		}
		b.WriteString(part)
		column += len(part)
	}
	return b.String()
}
