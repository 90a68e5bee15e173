package assess

import (
	"cmp"
	"slices"
)

// standard is all that sets one standard, or one criterion of a profile, apart from the others.
type standard struct {
	name    Standard
	label   string                          // as people write it
	of      Standard                        // the standard that a criterion of a profile is a stricter reading of; "": reports list it
	scored  bool                            // a profile may ask for it
	judge   func(*Verdict, Evidence, Rules) // adds the tests and concludes
	part    part                            // of the facts, that the standard has to itself; zero where it has none
	lookups func(*Facts) []*Lookup          // the questions of its part; nil: none
	reasons []Explanation                   // of its tests, beside those of several standards
}

// standards are all of them, in the order in which reports list them. Whatever goes over the
// standards goes over this list.
func standards() []standard {
	return []standard{
		{name: StartTLS, label: "StartTLS", scored: true, judge: judgeStartTLS, reasons: startTLSReasons, part: smtpPart()},
		{name: StartTLS12, of: StartTLS, label: "StartTLS with TLS 1.2", scored: true, judge: judgeStartTLS12, reasons: startTLS12Reasons},
		{name: X509, label: "x509", scored: true, judge: judgeX509, reasons: x509Reasons},
		{name: SPF, label: "SPF", scored: true, judge: judgeSPF, reasons: spfReasons, lookups: spfLookups,
			part: partOf((*Facts).spfRecord, func(to, from *Facts) { to.SPF = from.SPF })},
		{name: SPFPolicy, of: SPF, label: "an SPF policy of -all or ~all", scored: true, judge: judgeSPFPolicy, reasons: spfPolicyReasons},
		{name: DKIM, label: "DKIM", scored: true, judge: judgeDKIM, reasons: dkimReasons, lookups: dkimLookups,
			part: partOf((*Facts).dkimPresence, func(to, from *Facts) { to.DKIM.Presence = from.DKIM.Presence })},
		{name: DMARC, label: "DMARC", scored: true, judge: judgeDMARC, reasons: dmarcReasons, lookups: dmarcLookups,
			part: partOf((*Facts).dmarcRecord, func(to, from *Facts) { to.DMARC = from.DMARC })},
		{name: DMARCPolicy, of: DMARC, label: "a DMARC policy with reports", scored: true, judge: judgeDMARCPolicy, reasons: dmarcPolicyReasons},
		{name: DANE, label: "DANE", scored: true, judge: judgeDANE, reasons: daneReasons, lookups: daneLookups},
		{name: DNSSEC, label: "DNSSEC", scored: true, judge: judgeDNSSEC, reasons: dnssecReasons, lookups: dnssecLookups, part: dnssecPart()},
		{name: MTASTS, label: "MTA-STS", scored: true, judge: judgeMTASTS, reasons: mtastsReasons, lookups: mtastsLookups,
			part: partOf((*Facts).mtastsTest, func(to, from *Facts) { to.MTASTS = from.MTASTS })},
		{name: TLSRPT, label: "TLS-RPT", scored: true, judge: judgeTLSRPT, reasons: tlsrptReasons, lookups: tlsrptLookups,
			part: partOf((*Facts).tlsrptRecord, func(to, from *Facts) { to.TLSRPT = from.TLSRPT })},
		{name: RequireTLS, label: "REQUIRETLS", scored: true, judge: judgeRequireTLS, reasons: requireTLSReasons},
		{name: BIMI, label: "BIMI", judge: judgeBIMI, reasons: bimiReasons, lookups: bimiLookups,
			part: partOf((*Facts).bimiRecord, func(to, from *Facts) { to.BIMI = from.BIMI })},
	}
}

// Standards are the standards in the order in which reports list them.
var Standards = namesOf(func(s standard) bool { return s.of == "" })

// criteria are what a profile may ask for.
var criteria = namesOf(func(s standard) bool { return s.scored })

func namesOf(chosen func(standard) bool) []Standard {
	var names []Standard
	for _, s := range standards() {
		if chosen(s) {
			names = append(names, s.name)
		}
	}
	return names
}

// labels are the standards as people write them.
var labels = func() map[Standard]string {
	labels := map[Standard]string{}
	for _, s := range standards() {
		labels[s.name] = s.label
	}
	return labels
}()

// Label is the standard as people write it.
func (s Standard) Label() string { return labels[s] }

// Scored reports whether a profile may ask for the standard.
func (s Standard) Scored() bool { return slices.Contains(criteria, s) }

// parts are those of the facts that stand or fall together: the mail hosts, and one of each
// standard that has one.
func parts() []part {
	list := []part{mxPart()}
	for _, s := range standards() {
		if p := s.part; p.result != nil {
			p.name, p.scored = cmp.Or(p.name, string(s.name)), s.scored
			list = append(list, p)
		}
	}
	return list
}

// lookups are all questions of a run.
func (f *Facts) lookups() []*Lookup { return f.lookupsOf(func(standard) bool { return true }) }

// scoredLookups are those that a profile may rest on.
func (f *Facts) scoredLookups() []*Lookup {
	return f.lookupsOf(func(s standard) bool { return s.scored })
}

func (f *Facts) lookupsOf(chosen func(standard) bool) []*Lookup {
	all := []*Lookup{&f.Hosts.Lookup}
	for i := range f.Hosts.Hosts {
		all = append(all, &f.Hosts.Hosts[i].A, &f.Hosts.Hosts[i].AAAA)
	}
	for _, s := range standards() {
		if s.lookups != nil && chosen(s) {
			all = append(all, s.lookups(f)...)
		}
	}
	return all
}
