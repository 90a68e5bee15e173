package daemon

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"peerscore/assess/dnsname"
	"peerscore/cmd/peerscore/reader"
	"peerscore/cmd/peerscore/view"
	"peerscore/store"
)

// pages are what a browser on this host may read: all peers, and the explanation of one.
type pages struct {
	reader.Reader
	mu    sync.Mutex
	page  []byte // of all peers; it reads the whole database
	until time.Time
}

const (
	pageFor   = time.Minute // how long the page of all peers is not made again
	pagePeers = 2000        // how many peers it has at the most: a second's work
)

func (p *pages) register(mux *http.ServeMux) {
	mux.HandleFunc("GET /{$}", p.all)
	mux.HandleFunc("GET /peer/{domain}", p.one)
}

func (p *pages) all(w http.ResponseWriter, r *http.Request) {
	if !local(w, r) {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if time.Now().After(p.until) {
		var page bytes.Buffer
		if err := p.writePeers(r.Context(), &page); err != nil {
			http.Error(w, "the database cannot be read", http.StatusInternalServerError)
			return
		}
		p.page, p.until = page.Bytes(), time.Now().Add(pageFor)
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'")
	_, _ = w.Write(p.page) // the browser went away
}

// writePeers writes the page of those peers that most sessions came from.
func (p *pages) writePeers(ctx context.Context, w io.Writer) error {
	page := view.NewPage(p.Profile.Name)
	most := store.Filter{Sort: "sessions", Limit: pagePeers}
	if err := p.Each(ctx, most, func(r view.Report) error { page.Add(r); return nil }); err != nil {
		return err
	}
	return page.Write(w, pagePeers)
}

func (p *pages) one(w http.ResponseWriter, r *http.Request) {
	if !local(w, r) {
		return
	}
	domain, err := dnsname.ParseAddressOrDomain(r.PathValue("domain"))
	if err != nil {
		http.Error(w, "this is not a domain", http.StatusBadRequest)
		return
	}
	report, err := p.Report(r.Context(), domain)
	switch {
	case errors.Is(err, store.ErrUnknownDomain):
		http.Error(w, "the domain is not known", http.StatusNotFound)
	case err != nil:
		http.Error(w, "the database cannot be read", http.StatusInternalServerError)
	default:
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		view.Console{Out: w}.WriteExplanation(report, time.Now())
	}
}

// local refuses a request that a page from elsewhere had a browser on this host make, by a
// name of its own that leads to loopback.
func local(w http.ResponseWriter, r *http.Request) bool {
	w.Header().Set("X-Content-Type-Options", "nosniff")
	host, _, err := net.SplitHostPort(r.Host)
	if err != nil {
		host = r.Host
	}
	if address, err := netip.ParseAddr(host); host == "localhost" || err == nil && address.IsLoopback() {
		return true
	}
	http.Error(w, "ask by a loopback address", http.StatusMisdirectedRequest)
	return false
}
