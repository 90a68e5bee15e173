package e2e

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"peerscore/assess/probe/probetest"
)

const policyAddress = "10.3.0.81"

// lossWorld is a world in which every domain passes every test, for as long as nothing gets lost.
type lossWorld struct {
	*lab
	domains []string
	cut     atomic.Int32 // percent: how often a server ends the connection instead of taking what comes
}

// startLossWorld serves n domains: zones of which each fourth is not signed and each fifth
// answers with more than fits into a UDP packet, on two name servers; two MX hosts each, with
// TLSA records; a policy host and a CRL host.
func (l *lab) startLossWorld(n int) *lossWorld {
	l.t.Helper()
	w := &lossWorld{lab: l}
	ca, err := probetest.NewCA(probetest.CAConfig{CRLURL: "http://crl.ca.example"})
	if err != nil {
		l.t.Fatal(err)
	}
	l.write(l.dir, "ca.pem", string(ca.RootPEM()))
	policies := probetest.WebConfig{Pages: map[string]httpHandler{}}
	zones := []zone{{name: "ca.example", signed: true, records: "@ NS ns2.example.\ncrl A " + crlAddress + "\n"}}
	for i := range n {
		domain := fmt.Sprintf("d%d.example", i)
		w.domains = append(w.domains, domain)
		zones = append(zones, zone{name: domain, signed: i%4 != 3, records: w.lossRecords(ca, i, domain)})
		policies.Certificates = append(policies.Certificates, w.issue(ca, "mta-sts."+domain))
		policies.Pages[probetest.PolicyPath(domain)] = probetest.Page("text/plain", []byte("version: STSv1\nmode: enforce\nmax_age: 604800\nmx: *."+domain+"\n"))
	}
	web, err := probetest.NewWeb(policies)
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { web.Close() })
	w.link(policyAddress+":443", web.Addr())
	l.startDNS(zones)
	l.startCRLHost(ca)
	return w
}

func (w *lossWorld) issue(ca *probetest.CA, names ...string) tls.Certificate {
	w.t.Helper()
	certificate, err := ca.Issue(probetest.Leaf{Names: names})
	if err != nil {
		w.t.Fatal(err)
	}
	return certificate
}

// lossRecords starts the MX hosts of domain number i and returns its zone.
func (w *lossWorld) lossRecords(ca *probetest.CA, i int, domain string) string {
	w.t.Helper()
	records := "@ NS ns2.example.\n" +
		"@ TXT \"v=spf1 include:_spf." + domain + ". -all\"\n_spf TXT \"v=spf1 ip4:10.1.0.0/16 -all\"\n" +
		"_dmarc TXT \"v=DMARC1; p=reject; rua=mailto:dmarc@" + domain + "\"\n" +
		"s._domainkey TXT \"v=DKIM1; p=\"\n" +
		"_mta-sts TXT \"v=STSv1; id=1\"\nmta-sts A " + policyAddress + "\n" +
		"_smtp._tls TXT \"v=TLSRPTv1; rua=mailto:tls@" + domain + "\"\n" +
		"default._bimi TXT \"v=BIMI1; l=https://" + domain + "/picture.svg\"\n"
	if i%5 == 0 {
		for n := range 12 {
			records += fmt.Sprintf("@ TXT \"%d=%s\"\n", n, strings.Repeat("x", 200))
		}
	}
	for n := range 2 {
		name := fmt.Sprintf("mx%d", n+1)
		certificate := w.issue(ca, name+"."+domain)
		server, err := probetest.NewSMTP(probetest.SMTPConfig{Name: name + "." + domain, Certificates: []tls.Certificate{certificate}, TLSExtensions: []string{"REQUIRETLS"}})
		if err != nil {
			w.t.Fatal(err)
		}
		w.t.Cleanup(func() { server.Close() })
		w.link(mxAddress(i, n)+":25", server.Addr())
		records += fmt.Sprintf("@ MX %d %s\n%s A %s\n%s", 10*(n+1), name, name, mxAddress(i, n), tlsa(name, certificate, true))
	}
	return records
}

// link carries connections to a server, and cuts them as often as it is told to.
func (w *lossWorld) link(address, server string) {
	w.t.Helper()
	listener, err := net.Listen("tcp", address)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			near, err := listener.Accept()
			if err != nil {
				return
			}
			go w.carry(near, server)
		}
	}()
}

func (w *lossWorld) carry(near net.Conn, server string) {
	defer near.Close()
	far, err := net.Dial("tcp", server)
	if err != nil {
		return
	}
	defer far.Close()
	over := make(chan struct{}, 2)
	pipe := func(to, from net.Conn) {
		buffer := make([]byte, 600)
		for {
			n, err := from.Read(buffer)
			if err != nil || rand.Int32N(100) < w.cut.Load() {
				break
			}
			if _, err := to.Write(buffer[:n]); err != nil {
				break
			}
		}
		over <- struct{}{}
	}
	go pipe(near, far)
	go pipe(far, near)
	<-over
}

// outcomes are those of one run over all domains: of each test, and of each standard.
type outcomes map[string]string

// assess probes every domain, as newcomers where the database is new.
func (w *lossWorld) assess(d *daemon) outcomes {
	w.t.Helper()
	w.write(w.dir, "domains", strings.Join(w.domains, "\n")+"\n")
	out, err := d.cli("assess", "--json", "-f", filepath.Join(w.dir, "domains"))
	found := outcomes{}
	decoder := json.NewDecoder(strings.NewReader(out))
	for {
		var p struct {
			Domain string
			peer
		}
		if failed := decoder.Decode(&p); failed == io.EOF {
			break
		} else if failed != nil {
			w.t.Fatalf("assess: %v, %v:\n%s", err, failed, out)
		}
		for standard, s := range p.Standards {
			found[p.Domain+" "+standard] = s.Support
			for _, test := range s.Tests {
				found[strings.Join([]string{p.Domain, standard, test.Direction, test.Subject, test.Test}, " ")] = test.Result + ": " + test.Detail
			}
		}
	}
	if len(found) == 0 {
		w.t.Fatalf("assess: %v\n%s", err, out)
	}
	return found
}

// passed reports whether a result is a good one, failed whether it is a bad one.
func passed(result string) bool {
	return result == "yes" || strings.HasPrefix(result, "pass: ")
}

func failed(result string) bool {
	return result == "no" || strings.HasPrefix(result, "fail: ") || strings.HasPrefix(result, "bogus: ")
}

// newcomers is a database in which no domain is known.
func (w *lossWorld) newcomers(name string) *daemon {
	w.t.Helper()
	for _, file := range []string{".db", ".db-wal", ".db-shm"} {
		os.Remove(filepath.Join(w.dir, "state", name+file))
	}
	return w.database(name)
}

// database is one that may know the domains already.
func (w *lossWorld) database(name string) *daemon {
	w.t.Helper()
	return w.newDaemon(
		fmt.Sprintf("store.path = %q", filepath.Join(w.subdir("state"), name+".db")),
		fmt.Sprintf("assess.ca_file = %q", filepath.Join(w.dir, "ca.pem")))
}

// coldResolver puts a resolver that knows nothing in the place of the present one.
func (w *lossWorld) coldResolver() {
	w.killResolver()
	w.startUnbound()
	for n := 0; n < 10 && !udpAnswers(unboundAddress); n++ { // where packets are lost, that is no condition
		time.Sleep(50 * time.Millisecond) // of real time: the resolver is another process
	}
}

func (w *lossWorld) killResolver() {
	w.unbound.Process.Kill()
	w.unbound.Wait()
}

// wear has others ask the resolver for every name of this world, over and over for half a minute.
func (w *lossWorld) wear() {
	w.t.Helper()
	conn, err := net.Dial("udp", net.JoinHostPort(unboundAddress, "53"))
	if err != nil {
		w.t.Fatal(err)
	}
	defer conn.Close()
	for begun := time.Now(); time.Since(begun) < 30*time.Second; time.Sleep(time.Second) { // of real time: the resolver is another process
		for _, domain := range w.domains {
			for question, kind := range map[string]uint16{
				domain: 15, "_spf." + domain: 16, "mx1." + domain: 1, "_25._tcp.mx2." + domain: 52, "_dmarc." + domain: 16, "_mta-sts." + domain: 16,
			} {
				conn.Write(query(question, kind))
			}
		}
	}
}

// query asks for a type of records, and for their signatures (RFC 3225).
func query(name string, kind uint16) []byte {
	packet := []byte{0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1}
	for label := range strings.SplitSeq(name, ".") {
		packet = append(append(packet, byte(len(label))), label...)
	}
	packet = append(packet, 0, byte(kind>>8), byte(kind), 0, 1)
	return append(packet, 0, 0, 41, 4, 208, 0, 0, 128, 0, 0, 0)
}

// every does something at once and then again and again until it is stopped.
func every(interval time.Duration, do func()) (stop func()) {
	stopped, over := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(over)
		for {
			do()
			select {
			case <-stopped:
				return
			case <-time.After(interval): // of real time: the resolver is another process
			}
		}
	}()
	return func() { close(stopped); <-over }
}
