package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"
)

// fault is something that goes wrong while messages arrive.
type fault struct {
	name    string // and the author domain is below <name>.example
	inject  func(*trial)
	delay   time.Duration // the most that assess/probe/limits.md and the documented timeouts let a message wait for it
	credits credits
}

// credits says what the fault leaves of the observations of delivered messages.
type credits string

const (
	none credits = "none"
	some credits = "some" // the MTA did without peerscore for a while
	most credits = "most" // it waited, unless the machine is very slow
	lost credits = "lost" // peerscore answered, and counted what it could not store
)

// Timeouts of contrib/postfix/main.cf and contrib/sendmail/peerscore.m4, and of the daemon.
const (
	connectTimeout = 2 * time.Second
	commandTimeout = 10 * time.Second
	contentTimeout = 20 * time.Second
	answerTime     = 8 * time.Second
	lookupTime     = 3 * time.Second
)

var processFaults = []fault{
	{"killed", killed, answerTime, some},
	{"stopped", stopped, answerTime, most},
	{"hung", hung, connectTimeout + commandTimeout + contentTimeout, some},
	{"restarted", restarted, answerTime, some},
	{"upgraded", upgraded, answerTime, some},
}

var storeFaults = []fault{
	{"disk-full", diskFull, answerTime, lost},
	{"locked", locked, answerTime, lost},
	{"io-error", ioError, answerTime, lost},
	{"read-only", readOnly, answerTime, lost},
	{"corrupt", corrupt, answerTime, some},
}

var resolverFaults = []fault{
	{"silent", silentResolver, lookupTime, none},
	{"gone", goneResolver, lookupTime, none},
	{"slow", slowResolver, answerTime, most},
	{"lying", lyingResolver, lookupTime, none},
}

// TestFaults breaks peerscore and what it depends on in every way of assess/probe/limits.md, section 6
// while messages arrive, 1,000 of them with PEERSCORE_TRIAL_MESSAGES=1000, and with
// further sessions held at each stage. The MTA
// accepts and delivers every message once and in time, what peerscore acknowledged is stored,
// and afterwards it writes again by itself. The laboratories share the waiting.
func TestFaults(t *testing.T) {
	names := newLab(t)
	names.startDNS(faultZones())
	next := filepath.Join(names.dir, "peerscore")
	names.run("../..", "go", "build", "-ldflags", "-X main.version=next", "-o", next, "./cmd/peerscore")
	for _, lab := range []struct {
		name, receiver, port string
		faults               []fault
		start                func(l *lab, receiver, port string) mta
	}{
		{"sendmail", sendmailReceiver, "8894", slices.Concat(processFaults, storeFaults, resolverFaults), startSendmailMTA},
		{"process", receiver, "8898", processFaults, startPostfixMTA},
		{"resolver", "127.0.0.28", "8896", resolverFaults, startPostfixMTA},
		{"store", "127.0.0.29", "8897", storeFaults, startPostfixMTA},
	} {
		t.Run(lab.name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t)
			n := l.startNameServer(lab.receiver)
			d := l.startFragile(lab.port, n)
			m := lab.start(l, lab.receiver, lab.port)
			for _, f := range lab.faults {
				r := &trial{fault: f, l: l, mta: m, d: d, names: n, next: next, released: make(chan struct{})}
				r.run()
			}
			for id, copies := range m.arrivals() {
				if len(copies) != 1 {
					t.Errorf("message %s was delivered %d times in the end", id, len(copies))
				}
			}
		})
	}
}

func startPostfixMTA(l *lab, receiver, port string) mta {
	p := l.startPostfix("postfix", receiver, []string{l.documented("inet:127.0.0.1:" + port)})
	return mta{address: receiver + ":25", arrivals: p.arrivals}
}

// startSendmailMTA has the port of contrib/sendmail/peerscore.m4.
func startSendmailMTA(l *lab, receiver, _ string) mta {
	l.makeOwnCertificate()
	return mta{address: receiver + ":25", arrivals: l.startSendmail("sendmail", "own.pem").arrivals, brief: true}
}

// faultZones give each fault a domain of its own, with any number of names below it.
func faultZones() []zone {
	zones := []zone{{name: ownDomain, records: "mx A " + receiver + "\n"}}
	for _, f := range slices.Concat(processFaults, storeFaults, resolverFaults) {
		spf := fmt.Sprintf("TXT \"v=spf1 ip4:%s -all\"\n", trialSource)
		zones = append(zones, zone{name: f.name + ".example", records: "@ " + spf + "* " + spf + "*.tarpit " + spf})
	}
	return append(zones, zone{name: "10.in-addr.arpa"})
}

// startFragile runs a daemon that can be broken: its database has a small disk of its own and
// writes through iofault.c, its program can be replaced, its name server is ours.
func (l *lab) startFragile(port string, n *nameServer) *daemon {
	l.t.Helper()
	l.run("", "mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", l.subdir("state"))
	l.t.Cleanup(func() { l.run("", "umount", "-l", filepath.Join(l.dir, "state")) })
	l.run("", "cp", os.Getenv(binary), filepath.Join(l.dir, "peerscore"))
	shim := filepath.Join(l.dir, "iofault.so")
	l.run("testdata", "gcc", "-shared", "-fPIC", "-o", shim, "iofault.c")
	d := l.newDaemon("milter.listen = \"inet:"+port+"@127.0.0.1\"", "http.listen = \""+n.address+":8895\"",
		"assess.enabled = false", fmt.Sprintf("dns.servers = [%q]", n.address))
	d.program = []string{"env", "LD_PRELOAD=" + shim, "IOFAULT=" + filepath.Join(l.dir, "iofault"), filepath.Join(l.dir, "peerscore")}
	d.start()
	return d
}

func killed(r *trial) {
	r.start()
	for _, n := range []int{200, 500, 800} {
		r.after(n)
		r.d.kill()
		r.release()
		r.after(n + 100)
		r.d.start()
	}
}

// stopped for less than any timeout: the MTA waits.
func stopped(r *trial) {
	r.start()
	for _, n := range []int{200, 600} {
		r.after(n)
		r.d.signal(syscall.SIGSTOP)
		r.release()
		time.Sleep(time.Second) // of real time: the daemon is another process
		r.d.signal(syscall.SIGCONT)
	}
}

// hung until every timeout of the MTA has passed at every stage.
func hung(r *trial) {
	r.start()
	r.after(200)
	r.d.signal(syscall.SIGSTOP)
	r.release()
	r.held.Wait()
	r.d.signal(syscall.SIGCONT)
}

// restarted twice.
func restarted(r *trial) {
	r.start()
	r.after(200)
	r.terminate()
	r.after(500)
	r.d.start()
	r.after(700)
	r.d.stop()
	r.d.start()
}

// terminate is SIGTERM while messages are at hand. Postfix tells of MAIL and RCPT with DATA only.
func (r *trial) terminate() {
	r.d.signal(syscall.SIGTERM)
	r.release()
	r.d.stopped()
	for _, stage := range []string{"DATA", "body"} {
		r.finished = append(r.finished, r.message(stage).id)
	}
}

// upgraded as a package does it: the file is replaced under the running program.
func upgraded(r *trial) {
	program := r.d.program[len(r.d.program)-1]
	r.l.run("", "cp", r.next, program+".next")
	r.start()
	r.after(200)
	if err := os.Rename(program+".next", program); err != nil {
		r.l.t.Fatal(err)
	}
	r.terminate()
	r.d.start()
	if out, err := r.d.cli("version"); err != nil || between(out, "peerscore ", " ") != "next" {
		r.l.t.Errorf("after the upgrade: %s, %v", out, err)
	}
}

// diskFull leaves not one free octet. The log is emptied first: SQLite would write over it.
func diskFull(r *trial) {
	r.d.intrude("PRAGMA wal_checkpoint(TRUNCATE)")()
	ballast, before := filepath.Join(filepath.Dir(r.d.db), "ballast"), r.notStored()
	r.start()
	r.after(200)
	r.l.try("", "dd", "if=/dev/zero", "of="+ballast, "bs=4k") // ends with an error: the disk is full
	r.release()
	r.after(700)
	if err := os.Remove(ballast); err != nil {
		r.l.t.Fatal(err)
	}
	r.mail.Wait()
	r.lost = r.notStored() - before
}

// locked for longer than the daemon waits for another process.
func locked(r *trial) {
	before := r.notStored()
	r.start()
	r.after(200)
	unlock := r.d.intrude("BEGIN EXCLUSIVE")
	r.release()
	r.held.Wait()
	time.Sleep(3 * time.Second) // of real time: the daemon is another process
	unlock()
	r.mail.Wait()
	r.lost = r.notStored() - before
}

func ioError(r *trial)  { r.writesFail(syscall.EIO) }
func readOnly(r *trial) { r.writesFail(syscall.EROFS) }

func (r *trial) writesFail(reason syscall.Errno) {
	before := r.notStored()
	r.start()
	r.after(200)
	r.l.write(r.l.dir, "iofault", fmt.Sprint(int(reason)))
	r.release()
	r.after(700)
	if err := os.Remove(filepath.Join(r.l.dir, "iofault")); err != nil {
		r.l.t.Fatal(err)
	}
	r.mail.Wait()
	r.lost = r.notStored() - before
}

// corrupt loses all that was stored, but not the file: it is set aside.
func corrupt(r *trial) {
	r.start()
	r.after(200)
	r.d.kill()
	r.release()
	r.lost = r.credited()
	r.d.intrude("PRAGMA wal_checkpoint(TRUNCATE)")()
	r.l.run("", "dd", "if=/dev/zero", "of="+r.d.db, "bs=4k", "seek=1", "count=8", "conv=notrunc")
	r.after(500)
	r.d.start()
	r.l.waitFor("the corrupt file to be set aside", func() bool { // after the start, where the machine is busy
		aside, _ := filepath.Glob(r.d.db + ".corrupt-*Z")
		return len(aside) == 1
	})
}

// silentResolver may open the breaker, for half a minute.
func silentResolver(r *trial) {
	r.during(silent)
	if r.mta.brief {
		r.closeBreaker()
	}
}

func slowResolver(r *trial) { r.during(slow) }

// goneResolver leaves a port at which nobody listens.
func goneResolver(r *trial) {
	r.names.close()
	r.start()
	r.release()
	r.mail.Wait()
	r.names.open(r.l)
}

// lyingResolver may open the breaker too.
func lyingResolver(r *trial) {
	r.during(lying)
	r.closeBreaker()
}

// closeBreaker spares the half minute, which has been waited for once.
func (r *trial) closeBreaker() {
	r.d.stop()
	r.d.start()
}

func (r *trial) during(how reliability) {
	r.names.be(how)
	r.start()
	r.release()
	r.mail.Wait()
	r.names.be(honest)
}
