package e2e

import (
	"context"
	"database/sql"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	_ "github.com/mattn/go-sqlite3"
)

const (
	trialParallel = 20
	trialSession  = 10  // messages a session
	trialNames    = 100 // author domains
	trialSource   = "10.4.0.1"
	// noise is what a busy machine may add to a delay.
	noise = 10 * time.Second
)

// trialMessages is how many messages arrive during a fault. A thousand take a quarter of an hour
// on two processors, most of it Sendmail's forks.
var trialMessages = func() int {
	if n, err := strconv.Atoi(os.Getenv("PEERSCORE_TRIAL_MESSAGES")); err == nil {
		return n
	}
	return 250
}()

// mta is a mail server under test.
type mta struct {
	address  string                     // of its SMTP port
	arrivals func() map[string][]string // delivered messages by Message-ID, each as often as it arrived
	brief    bool                       // another MTA shows how long peerscore takes to recover
}

// trial is one fault on one MTA.
type trial struct {
	fault
	l     *lab
	mta   mta
	d     *daemon
	names *nameServer
	next  string // a newer program

	mail     sync.WaitGroup // all sessions
	held     sync.WaitGroup // those that were held at a stage
	released chan struct{}  // closed when they may go on
	accepted atomic.Int64
	mu       sync.Mutex
	worst    time.Duration // delay of a message
	lost     int           // observations that the daemon says it could not store
	finished []string      // messages that the daemon must have finished
}

func (r *trial) errorf(format string, args ...any) {
	r.l.t.Helper()
	r.l.t.Errorf(r.name+": "+format, args...)
}

// run has the mail sent, and looks at what became of it.
func (r *trial) run() {
	before, began := r.credited(), time.Now()
	r.inject(r)
	r.mail.Wait()
	took := time.Since(began)
	ids := r.ids()
	if n := int(r.accepted.Load()); n != len(ids) {
		r.errorf("%d of %d messages were accepted", n, len(ids))
		return
	}
	if r.worst > r.delay+noise {
		r.errorf("a message was delayed by %s, want %s", r.worst, r.delay)
	}
	acknowledged, credited := r.acknowledged(ids), r.credited()-before
	for deadline := time.Now().Add(noise); credited < acknowledged-r.lost && time.Now().Before(deadline); credited = r.credited() - before {
		time.Sleep(50 * time.Millisecond) // what waited behind a lock is stored after its answer
	}
	r.l.t.Logf("%-10s %d messages in %s, worst delay %s; %d acknowledged, %d lost, %d credited", r.name,
		len(ids), took.Round(time.Millisecond), r.worst.Round(time.Millisecond), acknowledged, r.lost, credited)
	r.judge(len(ids), acknowledged, credited)
	if got := r.d.text("PRAGMA integrity_check"); got != "ok" {
		r.errorf("the database is corrupt: %s", got)
	}
	r.resume()
}

// judge compares what the headers of delivered messages say with what is stored.
func (r *trial) judge(sent, acknowledged, credited int) {
	r.l.t.Helper()
	if credited < acknowledged-r.lost || credited > sent {
		r.errorf("%d observations stored of %d acknowledged and %d sent, %d lost", credited, acknowledged, sent, r.lost)
	}
	wrong := map[credits]bool{
		none: acknowledged+credited > 0,
		some: acknowledged == 0 || acknowledged >= sent-1, // one hangs in the tarpit
		most: acknowledged < sent/2,
		lost: acknowledged < sent/2 || r.lost == 0,
	}
	if wrong[r.credits] {
		r.errorf("%d of %d messages acknowledged, %d stored, %d lost: want %s", acknowledged, sent, credited, r.lost, r.credits)
	}
}

// start opens a session for each stage, which holds there, and then lets the others begin.
func (r *trial) start() {
	var reached sync.WaitGroup
	for _, stage := range stages {
		there := sync.OnceFunc(reached.Done)
		reached.Add(1)
		r.mail.Add(1)
		r.held.Go(func() {
			defer r.mail.Done()
			defer there()
			r.session([]message{r.message(stage)}, func(at string) {
				if at == stage {
					there()
					<-r.released
				}
			})
		})
	}
	reached.Wait()
	var next atomic.Int64
	for range trialParallel {
		r.mail.Go(func() {
			for n := int(next.Add(trialSession)); n <= trialMessages; n = int(next.Add(trialSession)) {
				var messages []message
				for i := n - trialSession; i < n; i++ {
					messages = append(messages, r.message(fmt.Sprint(i)))
				}
				r.session(messages, onwards)
			}
		})
	}
}

// release lets the sessions that were held go on.
func (r *trial) release() {
	select {
	case <-r.released:
	default:
		close(r.released)
	}
}

// after waits until n of a thousand messages were accepted.
func (r *trial) after(n int) {
	r.l.t.Helper()
	n = n * trialMessages / 1000
	for deadline := time.Now().Add(patience); int(r.accepted.Load()) < n; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			r.l.t.Fatalf("%s: mail does not flow: %d messages accepted", r.name, r.accepted.Load())
		}
	}
}

// message is one from a domain of this fault; what is evaluated when the fault comes hangs in a tarpit.
func (r *trial) message(id string) message {
	host := "m0"
	if n, err := strconv.Atoi(id); err == nil {
		host = fmt.Sprintf("m%d", n%trialNames)
	} else if id == "end" {
		host = "m0.tarpit"
	}
	return message{id: strings.ToLower(id) + "." + r.name, from: "someone@" + host + "." + r.name + ".example", source: trialSource, helo: "mail.example"}
}

// ids are those of all messages.
func (r *trial) ids() []string {
	var ids []string
	for _, stage := range stages {
		ids = append(ids, r.message(stage).id)
	}
	for i := range trialMessages {
		ids = append(ids, r.message(fmt.Sprint(i)).id)
	}
	return ids
}

// session sends messages over one connection.
func (r *trial) session(messages []message, at func(stage string)) {
	began := time.Now()
	held := time.Duration(0)
	pause := func(stage string) {
		since := time.Now()
		at(stage)
		held += time.Since(since)
	}
	c, err := dial(messages[0].source, r.mta.address)
	if err == nil {
		defer c.close()
		err = c.greet(messages[0].helo, pause)
	}
	for _, m := range messages {
		if err == nil {
			err = c.mail(m, r.l.text(m), pause)
		}
		if err != nil {
			r.errorf("message %s was not accepted: %v", m.id, err)
			return
		}
		r.accepted.Add(1)
		r.mu.Lock()
		r.worst = max(r.worst, time.Since(began)-held)
		r.mu.Unlock()
		began, held = time.Now(), 0
	}
	if err := c.command(221, "QUIT"); err != nil {
		r.errorf("%v", err)
	}
}

// acknowledged waits until all messages are delivered, each once, and counts those for which
// the daemon answered with a field that rests on an observation.
func (r *trial) acknowledged(ids []string) (n int) {
	r.l.t.Helper()
	var arrived map[string][]string
	var missing string
	defer func() {
		if missing != "" {
			queue, err := r.l.try("", "find", filepath.Join(r.l.dir, "sendmail"), "-path", "*/queue/*", "-name", "qf*", "-exec", "cat", "{}", "+")
			r.l.t.Logf("%s was not delivered; Sendmail has in its queue: %s %v", missing, queue, err)
		}
	}()
	r.l.waitFor("delivery of "+r.name, func() bool {
		arrived, missing = r.mta.arrivals(), ""
		for _, id := range ids {
			if len(arrived[id]) == 0 {
				missing = id
			}
		}
		return missing == ""
	})
	for _, id := range ids {
		if len(arrived[id]) != 1 {
			r.errorf("message %s was delivered %d times", id, len(arrived[id]))
		}
		field := strings.Join(scoreFields.FindAllString(arrived[id][0], -1), "\n")
		if strings.Contains(field, "proof=spf") || strings.Contains(field, "status=pending") {
			n++
		} else if field == "" && slices.Contains(r.finished, id) { // "unknown" is an answer, which a busy machine gives
			r.errorf("message %s was at hand at SIGTERM and did not end properly: %q", id, field)
		}
	}
	return n
}

// resume sends mail until it is credited again.
func (r *trial) resume() {
	before := r.credited()
	for i := range 100 { // the resolver's breaker may stay open for half a minute
		r.session([]message{r.message(fmt.Sprintf("resume%d", i))}, onwards)
		if r.credited() > before {
			return
		}
		time.Sleep(500 * time.Millisecond) // of real time: the daemon is another process
	}
	r.errorf("nothing is credited after the fault")
}

// credited counts the observations of all domains of this fault.
func (r *trial) credited() int {
	r.l.t.Helper()
	n, err := strconv.Atoi(r.d.text("SELECT coalesce(sum(sessions), 0) FROM tally JOIN domain ON id = domain_id WHERE name LIKE '%" + r.name + ".example'"))
	if err != nil {
		r.l.t.Fatal(err)
	}
	return n
}

// text is the one value that a query has, read beside the daemon.
func (d *daemon) text(query string) (value string) {
	d.l.t.Helper()
	db, err := sql.Open("sqlite3", "file:"+d.db+"?mode=ro")
	if err != nil {
		d.l.t.Fatal(err)
	}
	defer db.Close()
	if err := db.QueryRow(query).Scan(&value); err != nil {
		d.l.t.Fatalf("%s: %v", query, err)
	}
	return value
}

// intrude has another process's connection execute a statement; undo ends its transaction and the connection.
func (d *daemon) intrude(statement string) (undo func()) {
	d.l.t.Helper()
	db, err := sql.Open("sqlite3", "file:"+d.db+"?_busy_timeout=10000")
	if err != nil {
		d.l.t.Fatal(err)
	}
	conn, err := db.Conn(context.Background())
	if err != nil {
		d.l.t.Fatal(err)
	}
	if _, err := conn.ExecContext(context.Background(), statement); err != nil {
		d.l.t.Fatalf("%s: %v", statement, err)
	}
	return func() { conn.Close(); db.Close() }
}

// notStored is how many observations the daemon says were lost since it started.
func (r *trial) notStored() int {
	r.l.t.Helper()
	answer, err := http.Get("http://" + r.names.address + ":8895/metrics")
	if err != nil {
		r.l.t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		r.l.t.Fatal(err)
	}
	n, err := strconv.Atoi(between(string(body), `peerscore_store_observations_total{outcome="lost"} `, "\n"))
	if err != nil {
		r.l.t.Fatal(err)
	}
	return n
}
