package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"peerscore/cmd/peerscore/config"
	"peerscore/cmd/peerscore/daemon"
	"peerscore/milter/miltertest"
	"peerscore/store"
)

// planted is in everything that must not be kept: local parts, names of people, logins,
// subjects, text. A digit more tells the places apart.
const planted = "pl4nted"

// secrets are letters, coming in and going out, with something planted wherever there is room;
// each comes with a proof and without.
func secrets(t testing.TB) []letter {
	text := func(domain string) string {
		return compose(planted+"0@"+domain, 1, "Sender: "+planted+"1@"+domain, "Subject: "+planted+"2", "Message-ID: <"+planted+"3@"+domain+">",
			"X-"+planted+"4: "+planted+"5", "Peer-Score: "+planted+"6", "Authentication-Results: mx.own.example; spf=pass smtp.mailfrom="+planted+"7@"+domain) +
			planted + "8\r\n"
	}
	inside := at("10.1.2.3", "desk.own.example")
	submitted := at("198.51.100.77", "home.example")
	submitted.Login = planted + "9@own.example"
	victim, far := at("192.0.2.10", "out1.victim.example"), at("203.0.113.7", "attack.example")
	var list []letter
	for _, l := range []struct {
		peer         miltertest.Peer
		sender, text string
	}{
		{victim, "victim.example", signedBy(t, "victim.example", text("victim.example"))}, // stored: spf-dkim
		{victim, "victim.example", text("victim.example")},                                // spf-only
		{far, "elsewhere.example", signedBy(t, "victim.example", text("victim.example"))}, // relayed
		{far, "victim.example", text("victim.example")},                                   // nothing stored
		{far, "victim.example", "From: " + planted + "0\r\n\r\n" + planted},               // no identity
		{far, "local.example", signedBy(t, "local.example", text("local.example"))},       // its SPF record asks for local parts
		{far, "faulty.example", text("faulty.example")},                                   // its SPF record fails with one
		{far, "failing.example", text("failing.example")},                                 // and its lookup of one fails
		{far, planted + ".victim.example(", text("victim.example")},                       // names no domain
		{inside, "own.example", text("own.example")},                                      // teaches recipients
		{submitted, "own.example", text("own.example")},
	} {
		m := miltertest.Message{QueueID: "4fQ1aB2cDe", From: planted + "a@" + l.sender, Data: []byte(l.text),
			To: []string{planted + "b@friend.example", `"` + planted + `c d"@friend.example`, planted + "e"}}
		list = append(list, letter{"", l.peer, m, ""})
	}
	return list
}

// What people write, and to whom, leaves no trace: not in the database and the files beside
// it, not in the log, not in the fields. Of outgoing mail only the recipients' domains stay.
func TestNothingPersonalIsKept(t *testing.T) {
	o := openOffice(t, officeDNS(t))
	fields := o.deliver(secrets(t)...)
	look(t, o, "while it runs")
	if err := o.store.Close(); err != nil {
		t.Fatal(err)
	}
	fields = append(fields, o.deliver(secrets(t)...)...) // which cannot be stored, and is complained about
	o.close()
	look(t, o, "afterwards")
	if text := fmt.Sprint(fields); strings.Contains(text, planted) || !strings.Contains(text, "smtp.mailfrom=victim.example") {
		t.Error(text)
	}
	text := o.log.String()
	for _, needed := range []string{`"row":"spf-dkim",`, `"row":"spf-only",`, `"row":"relayed",`, `"row":"unauthenticated",`, `"row":"no-identity",`, `"row":"internal",`, "not recorded: the store is closed"} {
		if !strings.Contains(text, needed) {
			t.Errorf("the log lacks %s", needed)
		}
	}
	if strings.Contains(text, planted) {
		t.Error(text)
	}
}

// The same of the daemon as it is started, down to what go-milter says on the standard logger.
func TestDaemonKeepsNothingPersonal(t *testing.T) {
	dir := t.TempDir()
	o := &office{t: t, path: filepath.Join(dir, "peerscore.db"), socket: filepath.Join(dir, "milter"), log: &bytes.Buffer{}}
	cfg := config.Default()
	if err := cfg.Parse(fmt.Sprintf("[milter]\nlisten = \"unix:%s\"\nown_domains = [\"own.example\"]\n[header]\nauthentication_results = true\n"+
		"[assess]\nenabled = false\n[store]\npath = %q\n[dns]\nservers = [%q]\n", o.socket, o.path, officeDNS(t).Servers()[0])); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	d, err := daemon.New(ctx, cfg, config.NewLogger(&oneAtATime{w: o.log}, cfg.Log, &slog.LevelVar{}), daemon.Surroundings{})
	if err != nil {
		t.Fatal(err)
	}
	defer log.SetOutput(os.Stderr)
	stopped := make(chan error, 1)
	go func() { stopped <- d.Run(ctx) }()
	fields := fmt.Sprint(o.deliver(secrets(t)...))
	for _, err := d.Store.Peer(ctx, "friend.example"); err != nil; _, err = d.Store.Peer(ctx, "friend.example") {
		if !errors.Is(err, store.ErrUnknownDomain) {
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond)
	}
	log.Print("panic handling command")
	stop()
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	look(t, o, "afterwards")
	text := o.log.String()
	if strings.Contains(text+fields, planted) {
		t.Error(text, fields)
	}
	if !strings.Contains(text, "row=internal") || !strings.Contains(text, `msg=go-milter text="panic handling command"`) {
		t.Error(text)
	}
}

// look searches the folder of the database; what should be there proves that it is read.
func look(t *testing.T, o *office, when string) {
	t.Helper()
	files, err := filepath.Glob(o.path + "*")
	if err != nil {
		t.Fatal(err)
	}
	var all []byte
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if i := bytes.Index(bytes.ToLower(content), []byte(planted)); i >= 0 {
			t.Errorf("%s, in %s: %q", when, filepath.Base(file), content[max(0, i-20):min(len(content), i+40)])
		}
		all = append(all, content...)
	}
	for _, needed := range []string{"friend.example", "victim.example"} {
		if !bytes.Contains(all, []byte(needed)) {
			t.Errorf("%s: %s is not in %q", when, needed, files)
		}
	}
}
