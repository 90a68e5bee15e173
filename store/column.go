package store

import (
	"fmt"
	"strings"
	"unicode"

	"peerscore/assess/dnsname"
)

// What comes out of the database is as foreign as what comes in: any program may have written
// it. Names and words are held to what was stored when they are read, here and nowhere else,
// and whoever asks for a spoilt one gets an error. The daemon's own upkeep passes over it.
// Foreign text, which stands in JSON, may be anything, and who prints it cleans it.

// name is a domain.
type name dnsname.Domain

func (n *name) Scan(value any) error {
	s, _ := value.(string)
	if checkName(dnsname.Domain(s)) != nil {
		return fmt.Errorf("the database holds %q in place of a domain: another program changed it", value)
	}
	*n = name(s)
	return nil
}

// checkName holds what dnsname.Parse guarantees of every Domain, so that nothing else can reach
// the disk under that type.
func checkName(d dnsname.Domain) error {
	if !dnsname.IsHost(string(d)) {
		return fmt.Errorf("%q is not a normalised domain", d)
	}
	return nil
}

// word is a text of our own or the operator's, without control characters; empty for NULL.
type word string

func (w *word) Scan(value any) error {
	s, ok := value.(string)
	if !ok && value != nil || strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return fmt.Errorf("the database holds %q in place of a word: another program changed it", value)
	}
	*w = word(s)
	return nil
}
