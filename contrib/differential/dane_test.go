package differential

import (
	"bytes"
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"peerscore/assess/dane"
)

const daneHost = "mx.dane.example"

// TestDANE holds dane.Verify against `openssl s_client`, which connects to a real
// server for each chain and set of TLSA records and judges them as an MTA would.
// Not compared is what differs on purpose: OpenSSL lets a wildcard stand for part of
// a label (RFC 7672 does not), and takes the first of two issuers of one name,
// whether or not it made the signature.
func TestDANE(t *testing.T) {
	if _, err := exec.LookPath("openssl"); err != nil {
		if os.Getenv("PEERSCORE_FULL") != "" {
			t.Fatal(err)
		}
		t.Skip("openssl is not installed: left out DANE against s_client")
	}
	tally := map[string]int{}
	for _, p := range daneSituations(t) {
		address := p.serve(t)
		for _, records := range p.sets() {
			p.compare(t, address, records, tally)
		}
	}
	t.Logf("%d of %d cases agree: %d match, %d mismatch, %d unusable",
		tally["agree"], tally["agree"]+tally["differ"], tally["match"], tally["mismatch"], tally["unusable"])
	for _, outcome := range []string{"match", "mismatch", "unusable"} {
		if tally[outcome] < 20 {
			t.Errorf("only %d cases end in %s: the comparison says little", tally[outcome], outcome)
		}
	}
}

// daneSituation is a chain that a server presents, and more certificates that records
// may stand for.
type daneSituation struct {
	name   string
	leaf   *daneIdentity
	others []*daneIdentity // sent after the leaf
	unsent []*daneIdentity
}

// daneIdentity is a certificate with its key.
type daneIdentity struct {
	*x509.Certificate
	key crypto.Signer
}

// sets are the sets of records to be tried: each kind that differs in how a chain is
// built for each certificate alone, and random ones of up to four records.
func (p daneSituation) sets() [][]dane.TLSA {
	known := append(append([]*daneIdentity{p.leaf}, p.others...), p.unsent...)
	var sets [][]dane.TLSA
	for _, id := range known {
		sets = append(sets,
			[]dane.TLSA{daneRecord(dane.DANETA, dane.Cert, dane.SHA256, id)},
			[]dane.TLSA{daneRecord(dane.DANETA, dane.Cert, dane.Full, id)},
			[]dane.TLSA{daneRecord(dane.DANETA, dane.SPKI, dane.Full, id)})
	}
	random := rand.New(rand.NewPCG(7672, uint64(len(p.name))))
	for i, id := range known { // digest agility: the stronger digest is wrong
		usage := dane.DANEEE - uint8(min(i, 1))
		stronger := daneRecord(usage, dane.SPKI, dane.SHA512, id)
		stronger.Data = bytes.Clone(stronger.Data)
		stronger.Data[0] ^= 1
		sets = append(sets, []dane.TLSA{daneRecord(usage, dane.SPKI, dane.SHA256, id), stronger})
	}
	for range 6 {
		var set []dane.TLSA
		for range 1 + random.IntN(4) {
			set = append(set, randomRecord(random, known))
		}
		sets = append(sets, set)
	}
	return sets
}

// randomRecord is of any kind, for any known certificate, and at times wrong,
// too short, or of a kind that does not exist.
func randomRecord(random *rand.Rand, known []*daneIdentity) dane.TLSA {
	id := known[random.IntN(len(known))]
	r := daneRecord(uint8(random.IntN(5)), uint8(random.IntN(2)), uint8(random.IntN(3)), id)
	switch last := len(r.Data) - 1; random.IntN(8) {
	case 0, 1:
		r.Data = bytes.Clone(r.Data)
		r.Data[last] ^= 1
	case 2:
		r.Data = r.Data[:last]
	case 3:
		r.Selector += 2
	case 4:
		r.MatchingType += 3
	}
	return r
}

// compare asks both and wants the same answer: whether the server is authenticated,
// and then by which kind of record at which depth.
func (p daneSituation) compare(t *testing.T, address string, records []dane.TLSA, tally map[string]int) {
	t.Helper()
	chain := []*x509.Certificate{p.leaf.Certificate}
	for _, id := range p.others {
		chain = append(chain, id.Certificate)
	}
	ours := dane.Verify(records, chain, dane.Config{Names: []string{daneHost}})
	here := string(ours.Status)
	if best, ok := ours.Best(); ok {
		here = fmt.Sprintf("match %d %d %d at %d", best.TLSA.Usage, best.TLSA.Selector, best.TLSA.MatchingType, best.Depth)
	}
	there, output := askOpenSSL(t, address, records)
	tally[string(ours.Status)]++
	if sameVerdict(here, there) {
		tally["agree"]++
		return
	}
	tally["differ"]++
	var list []string
	for _, r := range ours.Records {
		list = append(list, fmt.Sprintf("%.40s... %s at %d: %s", r.TLSA, r.Status, r.Depth, r.Reason))
	}
	t.Errorf("%s: here %q, OpenSSL %q\n%s\n%s", p.name, here, there, strings.Join(list, "\n"), output)
}

// sameVerdict ignores which of two matching records of one depth is named.
func sameVerdict(here, there string) bool {
	hereUsage, hereDepth, _ := strings.Cut(here, " at ")
	thereUsage, thereDepth, _ := strings.Cut(there, " at ")
	if strings.HasPrefix(here, "match") && strings.HasPrefix(there, "match") {
		return hereDepth == thereDepth && hereUsage[:len("match 3")] == thereUsage[:len("match 3")]
	}
	return here == there
}

var daneMatch = regexp.MustCompile(`(?m)^DANE TLSA (\d \d \d) .* at depth (\d+)`)

// askOpenSSL returns the verdict of s_client in our words. SMTP has no use for the
// usages 0 and 1, so it is not told of such records (RFC 7672, section 3.1.3), and
// level 1 is that of Postfix with DANE.
func askOpenSSL(t *testing.T, address string, records []dane.TLSA) (verdict, output string) {
	t.Helper()
	args := []string{"s_client", "-brief", "-no-CAfile", "-no-CApath", "-no-CAstore", "-connect", address, "-cipher", "DEFAULT:@SECLEVEL=1",
		"-dane_ee_no_namechecks", "-dane_tlsa_domain", daneHost}
	usable := false
	for _, r := range records {
		if r.Usage > dane.PKIXEE {
			args = append(args, "-dane_tlsa_rrdata", r.String())
			usable = true
		}
	}
	if !usable {
		return "unusable", ""
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	out, _ := exec.CommandContext(ctx, "openssl", args...).CombinedOutput()
	output = string(out)
	match := daneMatch.FindStringSubmatch(output)
	switch {
	case strings.Contains(output, "Failed to import any TLSA records"):
		return "unusable", output
	case strings.Contains(output, "Verification: OK") && match != nil:
		return "match " + match[1] + " at " + match[2], output
	case strings.Contains(output, "Verification error:") || strings.Contains(output, "verify error:"):
		return "mismatch", output
	}
	return "no verdict", output
}

// serve presents the chain on loopback until the test ends.
func (p daneSituation) serve(t *testing.T) (address string) {
	t.Helper()
	certificate := tls.Certificate{Certificate: [][]byte{p.leaf.Raw}, PrivateKey: p.leaf.key}
	for _, id := range p.others {
		certificate.Certificate = append(certificate.Certificate, id.Raw)
	}
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}}
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // clients that turn away
	server.StartTLS()
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

func daneRecord(usage, selector, matching uint8, id *daneIdentity) dane.TLSA {
	data := id.Raw
	if selector == dane.SPKI {
		data = id.RawSubjectPublicKeyInfo
	}
	switch matching {
	case dane.SHA256:
		sum := sha256.Sum256(data)
		data = sum[:]
	case dane.SHA512:
		sum := sha512.Sum512(data)
		data = sum[:]
	}
	return dane.TLSA{Usage: usage, Selector: selector, MatchingType: matching, Data: data}
}
