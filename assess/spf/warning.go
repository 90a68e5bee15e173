package spf

import (
	"fmt"
	"strings"
)

// advisedLength is the record length in octets that RFC 7208, section 3.4, advises to stay below, so that
// the answer fits a DNS message over UDP.
const advisedLength = 450

// Warnings are the doubtful points of a record that is valid.
func (r Record) Warnings() []string {
	var out []string
	warn := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	hasAll := false
	for i := range r.Directives {
		d := &r.Directives[i]
		if hasAll {
			warn("%s stands after all and is ignored", d.Text)
			continue
		}
		hasAll = d.Mechanism == All
		if text := d.warning(); text != "" {
			warn("%s %s", d.Text, text)
		}
	}
	if hasAll && r.Redirect.Text != "" {
		warn("redirect=%s is ignored because of all", r.Redirect.Text)
	}
	for _, m := range r.Unknown {
		switch name := strings.ToLower(m.Name); Mechanism(name) {
		case All, Include, A, MX, PTR, IP4, IP6, Exists:
			warn("%s= is ignored: write %s: for the mechanism", m.Name, name)
		default:
			warn("unknown modifier %s= is ignored", m.Name)
		}
	}
	if len(r.Text) > advisedLength {
		warn("record of %d octets, and more than %d may not fit one answer over UDP", len(r.Text), advisedLength)
	}
	return out
}

// warning says what is doubtful about a directive that can be evaluated.
func (d *Directive) warning() string {
	pass := d.Qualifier == '+'
	switch {
	case d.Mechanism == All && pass:
		return "authorises every host"
	case d.Mechanism == PTR:
		return "should not be used: it is slow and unreliable (RFC 7208, section 5.5)"
	case d.Domain.uses.has('p'):
		return "uses the macro p, which should not be used (RFC 7208, section 7.2)"
	case !pass:
		return ""
	case d.Network.IsValid() && wideNetwork(d.Network):
		return "authorises a very wide range"
	case (d.Mechanism == A || d.Mechanism == MX) && (wideBits(int(d.Bits4), true) || wideBits(int(d.Bits6), false)):
		return "authorises a very wide range"
	case !d.Domain.anchored():
		return "lets the client choose the domain"
	case d.Mechanism == Exists && wideBits(d.Domain.addressBits(true), true):
		return "does not depend on the client's address"
	}
	return ""
}
