package e2e

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// TestForgedCopies sends messages with as many copies of our fields as fit, which each cost the
// MTA a scan of its queue file to remove. A hundred go. Past that none do, and the one on top
// says that there are no stars; the message arrives, and takes the MTA no longer than others.
func TestForgedCopies(t *testing.T) {
	l := newLab(t)
	l.startProviders()
	d := l.startDaemon(fmt.Sprintf("assess.ca_file = %q", filepath.Join(l.dir, "ca.pem")), "header.authentication_results = true")
	if out, err := d.cli("assess", "gold.example"); err != nil {
		t.Fatalf("assess: %v\n%s", err, out)
	}
	p := l.startReceiver()
	s := l.startSendmail("sendmail", "own.pem")

	results := "Authentication-Results: " + ownHost + "; dkim=pass header.d=bank.example\n"
	spent := map[string]time.Duration{} // by Postfix
	const dressed, undressed = "confidentiality=5; identity=5; integrity=5", "status=unknown"
	for _, tt := range []struct {
		id, header string
		score      string // of the topmost Peer-Score
		copies     int    // of forged fields that are left
		postfix    bool   // Sendmail takes no header as large as this
	}{
		{"plain", "X: a\n" + strings.Repeat("X-Peer: a\n", 100), dressed, 0, false},
		{"hundred", strings.Repeat("Peer-Score:a\n", 99) + results, dressed, 0, false},
		{"more", strings.Repeat("Peer-Score-Identity: **********\n", 101), undressed, 101, false},
		{"results", strings.Repeat(results, 101), undressed, 101, false},
		{"large", strings.Repeat("X-Peer: a\n", 20_000), undressed, 0, true},
		{"20,000", strings.Repeat("Peer-Score:a\n", 20_000), undressed, 20_000, true},
		{"below a large header", strings.Repeat("X-Peer: a\n", 50_000) + strings.Repeat("Peer-Score:a\n", 100), undressed, 100, true},
	} {
		for server, mail := range map[string]func() map[string]string{receiver: p.delivered, sendmailReceiver: s.delivered} {
			if tt.postfix && server != receiver {
				continue
			}
			id := strings.NewReplacer(",", "", " ", "").Replace(tt.id)
			m := gold(id)
			m.header = tt.header
			began := time.Now()
			l.converse(server+":25", source(0), "mail.gold.example", overTLS("mail.gold.example"), l.mail(m))
			took := time.Since(began)
			l.waitFor("delivery of "+tt.id, func() bool { return mail()[id] != "" })
			head, _, _ := strings.Cut(strings.ReplaceAll(mail()[id], "\r\n", "\n"), "\n\n")
			if server == receiver {
				spent[tt.id] = took
			}
			t.Logf("%s: %s in %s", server, tt.id, took.Round(time.Millisecond))
			if top := regexp.MustCompile(`(?m)^Peer-Score: [^\n]*(\n [^\n]*)*`).FindString(head); !strings.Contains(strings.ReplaceAll(top, "\n", ""), tt.score) {
				t.Errorf("%s: %s: on top stands %q, want %q", server, tt.id, top, tt.score)
			}
			forged := strings.Count(head, "Peer-Score:a") + strings.Count(head, "Peer-Score-Identity: ****") + strings.Count(head, "bank.example")
			if tt.score == dressed {
				forged -= strings.Count(head, "Peer-Score-Identity: ****")
			}
			if forged != tt.copies {
				t.Errorf("%s: %s: %d forged fields are left, want %d", server, tt.id, forged, tt.copies)
			}
		}
	}
	if spent["20,000"] > 8*spent["large"] { // it was 20 times as much
		t.Errorf("20,000 copies took %s, as many other fields %s", spent["20,000"], spent["large"])
	}
	if said := l.read(l.dir, "postfix.log"); strings.Contains(said, "panic") || strings.Contains(said, "queue file write error") {
		t.Error("Postfix stumbled over its queue file")
	}
}
