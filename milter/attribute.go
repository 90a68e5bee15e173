package milter

import (
	"net/netip"
	"time"

	"peerscore/assess"
	"peerscore/assess/dnsname"
	"peerscore/assess/spf"
)

// testimony is what the receiver can swear to about one message that reached its end.
type testimony struct {
	at       time.Time
	author   dnsname.Domain // "": the message has no identity
	host     netip.Prefix   // the client, as assess.ClientHost counts it; zero when the MTA named none
	internal bool           // the client is authenticated, internal, or a program of this host
	own      bool           // the author domain is one of ours
	nullPath bool           // MAIL FROM:<>

	startTLS           assess.Result
	tlsVersion, cipher string

	spf        spf.Result     // for MAIL FROM; "" when not told
	spfDomain  dnsname.Domain // whose record was asked; "" when it has no proper name
	spfAligned bool           // a pass, aligned with the author domain
	spfNarrow  bool           // by a mechanism that is not all, and no wide range

	dkim       assess.Result // Pass: a valid aligned signature; Fail: none, or none valid; Unknown: not told
	dkimResult string
	signature  assess.SignatureID // of the valid aligned signature
	selectors  []assess.Selector

	dmarc       assess.Result // Fail: the message fails the author's DMARC; Unknown: not told
	dmarcResult string
	isMX        bool // the client is an MX host of the author domain, and its confirmed name is of the author's organisation
	isOwnHost   bool // the client's confirmed name, which it also greets with, is of the author's organisation, which publishes no SPF
	handedOn    bool // List-*, ARC or Resent-* fields: the signature may have been broken on the way
	incomplete  bool // some lookup ended in temperror, or something was not evaluated
}

// status is the word of the Peer-Score field for a message without stars.
type status string

const (
	statusNone            status = "" // no field at all, or the stars of the author domain
	statusUnauthenticated status = "unauthenticated"
	statusNoIdentity      status = "no-identity"
	statusUnknown         status = "unknown"
	statusPending         status = "pending"
	statusNoMail          status = "no-mail"
)

// row is a row of the table in milter/attribution.md. Its word stands in the log, the metrics and `status`.
type row int

const (
	_ row = iota // of a decision that was not made
	rowSPFDKIM
	rowSPFOnly
	rowRelayed
	rowDKIMHost
	rowMXOnly
	rowHostOnly
	rowUnauthenticated
	rowNoIdentity
	rowNullPath
	rowInternal
	rowOwnDomain
	rowIncomplete
	rowAborted
	rowWideSPF
	rows
)

var rowWords = [rows]string{
	rowSPFDKIM: "spf-dkim", rowSPFOnly: "spf-only", rowRelayed: "relayed",
	rowDKIMHost: "dkim-host", rowMXOnly: "mx-only", rowHostOnly: "host-only",
	rowUnauthenticated: "unauthenticated", rowNoIdentity: "no-identity", rowNullPath: "null-path",
	rowInternal: "internal", rowOwnDomain: "own-domain", rowIncomplete: "incomplete",
	rowAborted: "aborted", rowWideSPF: "wide-spf",
}

func (r row) String() string { return rowWords[r] }

// decision is what follows from a message.
type decision struct {
	row         row
	proof       assess.Proof        // that the session speaks for the author domain; 0 for none
	observation *assess.Observation // what is written; nil: nothing
	probe       bool                // the author domain may be probed now
	learn       bool                // the recipients' domains become known: the message is our own
	status      status              // of the header field; none where the stars of the author domain go
}

// proofs are the reasons to believe that the session speaks for the author domain. Path proofs
// need a client whose address is known.
func (t testimony) proofs() assess.Proof {
	var p assess.Proof
	if t.dkim == assess.Pass {
		p |= assess.ProofDKIM
	}
	if !t.host.IsValid() {
		return p
	}
	if t.spfAligned && t.spfNarrow && !t.nullPath {
		p |= assess.ProofSPF
	}
	if t.isMX {
		p |= assess.ProofMX
	}
	if t.isOwnHost {
		p |= assess.ProofHost
	}
	return p
}

// attribute is the table of milter/attribution.md: whom a message speaks for, and what may be written
// about whom. It is the only place that decides so, and depends on nothing but its argument.
func attribute(t testimony) decision {
	if t.internal {
		// A bounce goes to whom the sender of another message claimed to be: we do not write to them.
		return decision{row: rowInternal, learn: !t.nullPath}
	}
	if t.author == "" {
		return decision{row: rowNoIdentity, status: statusNoIdentity}
	}
	proof := t.proofs()
	refusal := t.refusal(proof)
	switch {
	case proof == 0 && t.incomplete:
		return decision{row: rowIncomplete, status: statusUnknown}
	case t.own && (proof == 0 || refusal == statusUnauthenticated):
		return decision{row: rowOwnDomain, status: statusUnauthenticated}
	case t.own:
		return decision{row: rowOwnDomain, proof: proof, status: statusUnknown}
	case proof == 0:
		return decision{row: rowUnauthenticated, status: statusUnauthenticated}
	case refusal != statusNone:
		return decision{row: t.row(proof), proof: proof, observation: t.againstSPF(proof), status: refusal}
	case t.nullPath && !proof.Has(assess.ProofDKIM):
		return decision{row: rowNullPath, proof: proof}
	case t.nullPath:
		return decision{row: rowNullPath, proof: proof, observation: t.relayed(proof)}
	case proof == assess.ProofDKIM && t.spfAligned:
		return decision{row: rowWideSPF, proof: proof, observation: t.relayed(proof), probe: !t.incomplete}
	case proof == assess.ProofDKIM:
		return decision{row: rowRelayed, proof: proof, observation: t.relayed(proof), probe: !t.incomplete}
	}
	return decision{row: t.row(proof), proof: proof, observation: t.direct(proof), probe: !t.incomplete}
}

// refusal is the status of a message that bears no stars although there is a proof: it fails
// its author's DMARC, whatever the proof, or its only proofs are P-MX and P-HOST, which say whose
// the host is rather than who wrote, and the SPF record of MAIL FROM disowns that host. With
// these proofs it must also be known that DMARC does not fail: a signature that nobody can
// evaluate is quickly made.
func (t testimony) refusal(proof assess.Proof) status {
	weak := !proof.Has(assess.ProofDKIM) && !proof.Has(assess.ProofSPF)
	switch {
	case t.dmarc == assess.Fail, weak && t.spf == spf.Fail:
		return statusUnauthenticated
	case weak && t.dmarc == assess.Unknown:
		return statusUnknown
	}
	return statusNone
}

// againstSPF credits nothing but that the SPF record leaves out a host of the domain itself,
// which is true of the host whoever wrote the message.
func (t testimony) againstSPF(proof assess.Proof) *assess.Observation {
	if t.nullPath || !t.leftOut(proof) {
		return nil
	}
	return &assess.Observation{
		At: t.at, Domain: t.author, Proof: proof, Host: t.host, SPF: assess.Fail,
		SPFResult: string(t.spf), DKIMResult: t.dkimResult, DMARCResult: t.dmarcResult,
	}
}

// leftOut reports whether the SPF record of the author domain, or of a parent, does not
// authorise the client although it is one of the domain's MX hosts.
func (t testimony) leftOut(proof assess.Proof) bool {
	return proof.Has(assess.ProofMX) && !proof.Has(assess.ProofSPF) && t.speaksForSPF() &&
		(t.spf == spf.Fail || t.spf == spf.SoftFail || t.spf == spf.PermError)
}

// speaksForSPF reports whether the domain of MAIL FROM is the author domain or a parent of it.
func (t testimony) speaksForSPF() bool { return t.spfDomain != "" && t.author.Within(t.spfDomain) }

// row names the row of a session with a proof.
func (t testimony) row(proof assess.Proof) row {
	switch {
	case t.nullPath:
		return rowNullPath
	case proof == assess.ProofDKIM:
		return rowRelayed
	case proof.Has(assess.ProofSPF | assess.ProofDKIM):
		return rowSPFDKIM
	case proof.Has(assess.ProofSPF):
		return rowSPFOnly
	case proof.Has(assess.ProofDKIM):
		return rowDKIMHost
	case proof.Has(assess.ProofMX):
		return rowMXOnly
	}
	return rowHostOnly
}

// direct credits the client itself: its tests count as those of one of the domain's hosts.
// What failed counts only where the path proves the author domain itself or a parent of it,
// so that the holder of a subdomain has no vote against the whole; and never on P-HOST alone.
func (t testimony) direct(proof assess.Proof) *assess.Observation {
	mayFail := proof.Has(assess.ProofMX) || proof.Has(assess.ProofSPF) && t.speaksForSPF()

	o := t.observe(proof)
	o.Host = t.host
	o.TLSVersion, o.Cipher = t.tlsVersion, t.cipher
	if t.startTLS == assess.Pass || mayFail {
		o.StartTLS = t.startTLS
	}
	switch {
	case proof.Has(assess.ProofSPF):
		o.SPF = assess.Pass
	case t.leftOut(proof):
		o.SPF = assess.Fail
	}
	if t.dkim == assess.Pass || t.dkim == assess.Fail && mayFail && !t.handedOn {
		o.DKIM = t.dkim
	}
	return o
}

// relayed credits the signature alone, under the pseudo-host "relayed": who handed the message
// over is unknown.
func (t testimony) relayed(proof assess.Proof) *assess.Observation {
	o := t.observe(proof)
	o.DKIM = assess.Pass
	return o
}

// observe is what every observation has.
func (t testimony) observe(proof assess.Proof) *assess.Observation {
	return &assess.Observation{
		At: t.at, Domain: t.author, Proof: proof,
		SPFResult: string(t.spf), DKIMResult: t.dkimResult, DMARCResult: t.dmarcResult,
		Signature: t.signature, Selectors: t.selectors,
	}
}
