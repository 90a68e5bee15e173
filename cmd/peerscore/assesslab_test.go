package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"peerscore/assess/probe/probetest"
	"peerscore/cmd/peerscore/daemon"
	"peerscore/cmd/peerscore/view"
)

// listLab is an internet on loopback for lists of domains: a name server, mail servers that share
// a port, each on a network of its own, a policy host and a CRL host.
type listLab struct {
	t       testing.TB
	dir     string
	delay   time.Duration
	ca      *probetest.CA
	ports   map[uint16]uint16 // instead of 25, 80 and 443
	servers []*probetest.SMTP
	zones   []probetest.Zone
	domains []string

	policyCertificates []tls.Certificate
	policies           map[string]http.HandlerFunc
}

// The addresses of the laboratory, apart from the mail servers'.
const (
	labPolicyHost = "127.0.0.43"
	labCRLHost    = "127.0.0.80"
)

func newListLab(t testing.TB, delay time.Duration) *listLab {
	t.Helper()
	l := &listLab{t: t, dir: t.TempDir(), delay: delay, ports: make(map[uint16]uint16), policies: make(map[string]http.HandlerFunc)}
	var err error
	l.ca, err = probetest.NewCA(probetest.CAConfig{CRLURL: "http://crl.lab.example"})
	must(t, err)
	l.zones = []probetest.Zone{
		{Name: "example", Signed: true},
		{Name: "lab.example", Records: "crl A " + labCRLHost},
	}
	return l
}

// mail starts a mail server that has a network of its own, for one name or several, and returns its address.
func (l *listLab) mail(cfg probetest.SMTPConfig, names ...string) (addr string) {
	l.t.Helper()
	n := len(l.servers)
	addr = fmt.Sprintf("127.%d.%d.1", 1+n/256, n%256)
	certificate, err := l.ca.Issue(probetest.Leaf{Names: names})
	must(l.t, err)
	cfg.Addr = net.JoinHostPort(addr, fmt.Sprint(l.ports[25]))
	cfg.Name, cfg.Delay, cfg.Certificates = names[0], l.delay, []tls.Certificate{certificate}
	server, err := probetest.NewSMTP(cfg)
	must(l.t, err)
	l.t.Cleanup(func() { server.Close() })
	l.ports[25] = portOf(l.t, server.Addr())
	l.servers = append(l.servers, server)
	return addr
}

// domain adds a domain with records besides the usual ones.
func (l *listLab) domain(name string, signed bool, records ...string) {
	l.zones = append(l.zones, probetest.Zone{Name: name, Signed: signed, Records: strings.Join(records, "\n") + `
		@      TXT "v=spf1 mx include:spf.provider.example -all"
		_dmarc TXT "v=DMARC1; p=quarantine"`})
	l.domains = append(l.domains, name)
}

// policy publishes an MTA-STS policy; the records returned belong to the domain.
func (l *listLab) policy(domain string) (records string) {
	l.t.Helper()
	certificate, err := l.ca.Issue(probetest.Leaf{Names: []string{"mta-sts." + domain}})
	must(l.t, err)
	l.policyCertificates = append(l.policyCertificates, certificate)
	l.policies[probetest.PolicyPath(domain)] = probetest.Policy("version: STSv1", "mode: testing", "mx: *.example", "max_age: 604800")
	return "mta-sts A " + labPolicyHost + "\n_mta-sts TXT \"v=STSv1; id=1\""
}

// start starts what all domains share. It writes a configuration that leads there.
func (l *listLab) start() (cfg string) {
	l.t.Helper()
	l.zones = append(l.zones, probetest.Zone{Name: "spf.provider.example", Records: `@ TXT "v=spf1 ip4:192.0.2.0/24 ?all"`})
	dns, err := probetest.NewDNS(probetest.DNSConfig{Zones: l.zones, Delay: l.delay})
	must(l.t, err)
	l.t.Cleanup(func() { dns.Close() })
	l.web(80, labCRLHost, probetest.WebConfig{Pages: map[string]http.HandlerFunc{
		"crl.lab.example/issuing.crl": l.crl(l.ca.CRL(nil)),
		"crl.lab.example/root.crl":    l.crl(l.ca.RootCRL(nil)),
	}})
	if len(l.policies) > 0 {
		l.web(443, labPolicyHost, probetest.WebConfig{Certificates: l.policyCertificates, Pages: l.policies})
	}
	roots := l.write("roots.pem", string(l.ca.RootPEM()))
	return l.write("peerscore.toml", fmt.Sprintf(`
		[assess]
		ehlo = "probe.lab.example"
		allow_networks = ["127.0.0.0/8"]
		ca_file = %q
		[dns]
		servers = [%q]
		[store]
		path = %q
		[log]
		level = "error"`, roots, dns.Addr(), filepath.Join(l.dir, "peerscore.db")))
}

func (l *listLab) web(port uint16, addr string, cfg probetest.WebConfig) {
	l.t.Helper()
	cfg.Addr, cfg.Delay = addr+":0", l.delay
	web, err := probetest.NewWeb(cfg)
	must(l.t, err)
	l.t.Cleanup(func() { web.Close() })
	l.ports[port] = portOf(l.t, web.Addr())
}

func (l *listLab) crl(der []byte, err error) http.HandlerFunc {
	l.t.Helper()
	must(l.t, err)
	return probetest.Page("application/pkix-crl", der)
}

func (l *listLab) write(name, text string) (path string) {
	l.t.Helper()
	path = filepath.Join(l.dir, name)
	must(l.t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

// connections counts those that the mail servers saw, and the most that one of them saw.
func (l *listLab) connections() (all, most int) {
	for _, s := range l.servers {
		n, _ := s.Connections()
		all, most = all+n, max(most, n)
	}
	return all, most
}

// labProcess marks the process of the command under test: its arguments and the ports.
const labProcess = "PEERSCORE_TEST_COMMAND"

type labCommand struct {
	Args  []string
	Ports map[uint16]uint16
}

// command is a process of this program, in which the ports of the laboratory stand for 25, 80 and 443.
func (l *listLab) command(args ...string) *exec.Cmd {
	l.t.Helper()
	text, err := json.Marshal(labCommand{args, l.ports})
	must(l.t, err)
	cmd := exec.Command(os.Args[0], "-test.run=^TestLabProcess$")
	cmd.Env = append(os.Environ(), labProcess+"="+string(text))
	return cmd
}

// TestLabProcess is that process: main but for the ports.
func TestLabProcess(t *testing.T) {
	text := os.Getenv(labProcess)
	if text == "" {
		return // nothing to test: it is a process for others
	}
	var c labCommand
	must(t, json.Unmarshal([]byte(text), &c))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, c.Args, &app{
		Console: view.Console{In: os.Stdin, Out: os.Stdout, Err: os.Stderr},
		around:  daemon.Surroundings{Ports: c.Ports},
	}))
}

func portOf(t testing.TB, address string) uint16 {
	t.Helper()
	addr, err := net.ResolveTCPAddr("tcp", address)
	must(t, err)
	return uint16(addr.Port)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
