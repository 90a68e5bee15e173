package probe

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"peerscore/assess"
	"peerscore/assess/pkix"
	"peerscore/assess/probe/resolver"
)

// Limits on revocation lists.
const (
	maxCRLs       = 3        // asked for one chain
	maxCRLOctets  = 10 << 20 // of one list
	crlKeep       = 12 * time.Hour
	crlRetry      = time.Hour // after a list could not be had
	maxCRLCached  = 256       // lists
	maxCRLEntries = 600_000   // entries of all lists in the cache: about 17 MB
)

// crlCache fetches revocation lists and keeps them for all domains, by URL. One flight a URL,
// one list at a time in the parser.
type crlCache struct {
	web    *web
	now    func() time.Time
	flight turnstile[string]
	parser sync.Mutex

	mu      sync.Mutex
	entries map[string]*crlEntry
}

type crlEntry struct {
	list  *pkix.CRL
	err   error // why there is no list
	until time.Time
	used  time.Time
}

// get is the list at a URL, signed by issuer, from the cache or from the network.
func (c *crlCache) get(ctx context.Context, dns *resolver.Resolver, url string, issuer *x509.Certificate) (*pkix.CRL, error) {
	leave, err := c.flight.enter(ctx, url)
	if err != nil {
		return nil, err
	}
	defer leave()
	if entry := c.cached(url); entry != nil {
		return entry.list, entry.err
	}
	list, err := c.fetch(ctx, dns, url, issuer)
	if ctx.Err() == nil { // else the failure is ours
		c.keep(url, list, err)
	}
	return list, err
}

func (c *crlCache) fetch(ctx context.Context, dns *resolver.Resolver, url string, issuer *x509.Certificate) (*pkix.CRL, error) {
	response, err := c.web.get(ctx, dns, url, maxCRLOctets)
	switch {
	case err != nil:
		return nil, fmt.Errorf("the CRL cannot be had: %w", err)
	case response.status != http.StatusOK:
		return nil, fmt.Errorf("the CRL cannot be had: status %d", response.status)
	}
	c.parser.Lock()
	defer c.parser.Unlock()
	return pkix.ParseCRL(response.body, issuer)
}

func (c *crlCache) cached(url string) *crlEntry {
	c.mu.Lock()
	defer c.mu.Unlock()
	entry := c.entries[url]
	if entry == nil || c.now().After(entry.until) {
		return nil
	}
	entry.used = c.now()
	return entry
}

func (c *crlCache) keep(url string, list *pkix.CRL, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	entry := &crlEntry{list: list, err: err, until: c.now().Add(crlRetry), used: c.now()}
	if list != nil {
		entry.until = c.now().Add(crlKeep)
		if list.NextUpdate.Before(entry.until) {
			entry.until = list.NextUpdate
		}
	}
	if c.entries == nil {
		c.entries = make(map[string]*crlEntry)
	}
	c.entries[url] = entry
	c.shrink()
}

// shrink drops the lists that were not used for longest, until the bounds hold; the newest stays.
func (c *crlCache) shrink() {
	for len(c.entries) > 1 && (len(c.entries) > maxCRLCached || c.size() > maxCRLEntries) {
		oldest := ""
		for url, entry := range c.entries {
			if oldest == "" || entry.used.Before(c.entries[oldest].used) {
				oldest = url
			}
		}
		delete(c.entries, oldest)
	}
}

func (c *crlCache) size() int {
	n := 0
	for _, entry := range c.entries {
		if entry.list != nil {
			n += len(entry.list.Revoked)
		}
	}
	return n
}

// check reports whether a certificate on the path is revoked: the leaf and each intermediate,
// each by the list of its issuer, all at once. The path ends in a trusted root, which no list
// speaks of; where it does not, nothing is asked.
func (c *crlCache) check(ctx context.Context, dns *resolver.Resolver, path []*x509.Certificate) assess.Check {
	if c.now().After(path[0].NotAfter) {
		return assess.Check{Detail: "the certificate has expired, and authorities drop expired ones from their CRLs"}
	}
	checks := make([]assess.Check, len(path)-1)
	var wg sync.WaitGroup
	for i := range checks {
		if i >= maxCRLs {
			checks[i] = assess.Check{Detail: fmt.Sprintf("%s was not asked about, after %d CRLs", placeOf(path, i), maxCRLs)}
			continue
		}
		wg.Go(func() { checks[i] = c.checkOne(ctx, dns, path, i) })
	}
	wg.Wait()
	return worst(checks)
}

// placeOf calls a certificate of a path by its place in it, for people.
func placeOf(path []*x509.Certificate, i int) string {
	if i == 0 {
		return "the server's certificate"
	}
	return "the intermediate certificate " + pkix.CommonName(path[i])
}

// worst puts a revoked certificate before one of which nothing is known, and that before the others.
func worst(checks []assess.Check) assess.Check {
	result := assess.Check{Result: assess.Pass, Detail: "on no CRL of its chain"}
	for _, check := range checks {
		switch {
		case check.Result == assess.Fail:
			return check
		case check.Result == assess.Unknown && result.Result == assess.Pass:
			result = check
		}
	}
	return result
}

func (c *crlCache) checkOne(ctx context.Context, dns *resolver.Resolver, path []*x509.Certificate, i int) assess.Check {
	cert, issuer := path[i], path[i+1]
	if pkix.NeverRevoked(cert) {
		return assess.Check{Result: assess.Pass}
	}
	url, err := distributionPoint(cert)
	if err != nil {
		return assess.Check{Reason: assess.ReasonCRLAbsent, Detail: fmt.Sprintf("%s %v", placeOf(path, i), err)}
	}
	list, err := c.get(ctx, dns, url, issuer)
	var entry *pkix.Revocation
	if err == nil {
		entry, err = list.Find(cert, issuer, c.now())
	}
	switch {
	case err != nil:
		return assess.Check{Reason: assess.ReasonCRLUnavailable, Detail: fmt.Sprintf("%v (%.200q, which %s names)", err, url, placeOf(path, i))}
	case entry == nil:
		return assess.Check{Result: assess.Pass}
	}
	return assess.Check{Result: assess.Fail, Detail: fmt.Sprintf("%s was revoked on %s: %s (%.200q)",
		placeOf(path, i), date(time.Unix(int64(entry.At), 0)), reasonName(entry.Reason), url)}
}

// distributionPoint is the first place where the certificate says that its CRL is and that may be asked.
func distributionPoint(cert *x509.Certificate) (string, error) {
	if len(cert.CRLDistributionPoints) == 0 {
		return "", errors.New("names no CRL: its authority publishes none, and there is nothing to do about it")
	}
	var first error
	for _, url := range cert.CRLDistributionPoints {
		err := checkCRLURL(url)
		if err == nil {
			return url, nil
		}
		if first == nil {
			first = fmt.Errorf("names a CRL that is not asked for, %.200q: %w", url, err)
		}
	}
	return "", first
}

// reasonName is the CRLReason as RFC 5280, section 5.3.1 spells it.
func reasonName(code uint8) string {
	names := []string{
		"unspecified", "keyCompromise", "cACompromise", "affiliationChanged", "superseded",
		"cessationOfOperation", "certificateHold", "", "removeFromCRL", "privilegeWithdrawn", "aACompromise",
	}
	if int(code) < len(names) && names[code] != "" {
		return names[code]
	}
	return fmt.Sprintf("reason %d", code)
}
