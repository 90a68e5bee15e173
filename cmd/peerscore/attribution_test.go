package main

import (
	"encoding/json"
	"fmt"
	"math/rand"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"peerscore/assess"
	"peerscore/milter/miltertest"
)

// The properties of milter/attribution.md, over random sequences of sessions that go through the
// milter's socket into a database, and what is stored is compared row by row.

// proven are letters that prove their author domain, each in its own way.
func proven(t testing.TB) []letter {
	out1, out2, mx, far := at("192.0.2.10", "out1.victim.example"), at("192.0.2.11", "out2.victim.example"), at("192.0.2.25", "mx.victim.example"), at("198.51.100.9", "forwarder.example")
	from := func(sender, text string) miltertest.Message {
		return miltertest.Message{From: sender, To: []string{"info@own.example"}, Data: []byte(text)}
	}
	victim := func(n int, fields ...string) string { return compose("a@victim.example", n, fields...) }
	return []letter{
		{"spf-dkim", out1, from("a@victim.example", signedBy(t, "victim.example", victim(1))), "victim.example"},
		{"spf-dkim, plain text", inPlain(out1), from("a@victim.example", signedBy(t, "victim.example", victim(2))), "victim.example"},
		{"spf-dkim, another host", out2, from("a@victim.example", signedBy(t, "victim.example", victim(3))), "victim.example"},
		{"spf-only", out2, from("a@victim.example", victim(4)), "victim.example"},
		{"spf-only, a list", out1, from("a@victim.example", victim(5, "List-Id: <x>")), "victim.example"},
		{"relayed", far, from("x@forwarder.example", signedBy(t, "victim.example", victim(6))), "victim.example"},
		{"relayed, replayed", far, from("x@forwarder.example", signedBy(t, "victim.example", victim(6))), "victim.example"},
		{"relayed, another", inPlain(far), from("x@forwarder.example", signedBy(t, "victim.example", victim(7))), "victim.example"},
		{"dkim-host", mx, from("x@forwarder.example", signedBy(t, "victim.example", victim(8))), "victim.example"},
		{"mx-only", inPlain(mx), from("a@victim.example", victim(9)), "victim.example"},
		{"host-only", at("198.51.100.20", "mail.host.example"), from("a@host.example", compose("a@host.example", 10)), "host.example"},
		{"null-path", far, from("", signedBy(t, "victim.example", victim(11))), "victim.example"},
		{"wide-spf", at("203.0.113.7", "x.wide.example"), from("a@wide.example", signedBy(t, "wide.example", compose("a@wide.example", 12))), "wide.example"},
		{"spf-only, the attacker for itself", at("203.0.113.7", "attack.example"), from("any@attack.example", compose("any@attack.example", 13)), "attack.example"},
		{"spf-only, a subdomain of the attacker's", inPlain(at("203.0.113.7", "attack.example")), from("any@evil.attack.example", compose("any@attack.example", 14)), "attack.example"},
		{"mx-only, with stars", inPlain(at("192.0.2.30", "mx.exchange.example")), from("a@exchange.example", compose("a@exchange.example", 15)), "exchange.example"},
	}
}

// lying are letters of an attacker who has a host, a domain and a key of his own, and proves
// nothing of what he claims (rows unauthenticated, no-identity, own-domain and incomplete).
func lying(t testing.TB) []letter {
	attacker, neighbour := at("203.0.113.7", "attack.example"), at("198.51.100.25", "mx.hoster.example")
	const bought = "any@attack.example"
	foreign := "DKIM-Signature: v=1; a=ed25519-sha256; d=victim.example; s=k; h=from; bh=AAAA; b=AAAA"
	var list []letter
	for i, s := range []struct{ sender, text string }{
		{bought, compose("admin@victim.example", 0)},
		{"admin@victim.example", compose("admin@victim.example", 1)},
		{"", compose("admin@victim.example", 2)},
		{bought, signedBy(t, "wide.example", compose("admin@victim.example", 3))},
		{bought, compose("admin@victim.example", 4, foreign)},
		{"any@wide.example", compose("admin@victim.example", 5, "List-Id: <x>", "Authentication-Results: mx.own.example; dkim=pass header.d=victim.example")},
		{bought, strings.Replace(signedBy(t, "victim.example", compose("admin@victim.example", 6)), "Number", "Numero", 1)},
		{bought, compose("admin@mail.victim.example", 7)},
		{"any@wide.example", compose("any@wide.example", 8)}, // passes by +all
		{bought, compose("a@own.example", 9)},
		{bought, compose("a@nobody.example", 10)},
		{bought, compose("a@victim.example.attacked.example", 11)},
		{bought, compose("any@attack.example, admin@victim.example", 12)},
		{bought, compose("victims: admin@victim.example;", 13)},
		{bought, compose("any@attack.example", 14, "From: admin@victim.example")},
		{bought, compose("broken", 15)},
		{"a@dead.example", signedBy(t, "dead.example", compose("a@dead.example", 17))}, // its DNS does not answer
		{"a@dead.example", signedBy(t, "dead.example", compose("admin@victim.example", 18))},
		{"admin@attack.example@victim.example", compose(`<"any@attack.example"@victim.example>`, 16)},
	} {
		list = append(list, letter{fmt.Sprint("spoof ", i), attacker, miltertest.Message{From: s.sender, To: []string{"info@own.example"}, Data: []byte(s.text)}, ""})
	}
	// Who shares an MX host with the victim, unsigned, in plain text, and with a name of the victim in EHLO.
	for _, peer := range []miltertest.Peer{neighbour, inPlain(neighbour), greeting(neighbour, "backup.victim.example")} {
		for i, sender := range []string{bought, "admin@victim.example", ""} {
			text := compose("admin@victim.example", 20+i)
			list = append(list, letter{fmt.Sprint("neighbour ", len(list)), peer, miltertest.Message{From: sender, To: []string{"info@own.example"}, Data: []byte(text)}, ""})
		}
	}
	return list
}

// The letters are what their names say: the log names the row of each.
func TestLetters(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes seconds")
	}
	t.Parallel()
	dns := officeDNS(t)
	for _, l := range append(proven(t), lying(t)...) {
		o := openOffice(t, dns)
		o.deliver(l)
		o.close()
		var line struct {
			Row    string
			Domain string
		}
		for text := range strings.Lines(o.log.String()) {
			if strings.Contains(text, `"msg":"message"`) {
				if err := json.Unmarshal([]byte(text), &line); err != nil {
					t.Error(err)
				}
			}
		}
		want := []string{"unauthenticated", "no-identity", "own-domain", "incomplete"}
		if row, _, _ := strings.Cut(l.name, ","); l.proves != "" {
			want = []string{row}
		}
		if !slices.Contains(want, line.Row) || l.proves != "" && line.Domain != l.proves {
			t.Errorf("%s: row %s, %s", l.name, line.Row, line.Domain)
		}
	}
}

// A peer that authenticates one message and spoofs 100,000 others changes exactly what its one
// message entitles it to (property 1).
func TestOneProofAmongSpoofs(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes seconds")
	}
	messages := 10_000
	switch {
	case underRace:
		messages = 2_000
	case os.Getenv("PEERSCORE_FULL") != "":
		messages = 100_000
	}
	dns, honest, lies := officeDNS(t), proven(t), lying(t)
	entitled := honest[13] // the attacker for itself
	first := []letter{honest[0], honest[3], honest[5], honest[10]}

	alone := openOffice(t, dns)
	alone.deliver(append(first, entitled)...)
	want := alone.rows()

	o := openOffice(t, dns)
	o.deliver(first...)
	began := time.Now()
	var senders sync.WaitGroup
	const sessions = 8
	for i := range sessions {
		senders.Go(func() {
			batch := make([]letter, 0, messages/sessions+1)
			for n := range messages / sessions {
				batch = append(batch, lies[(n+i)%len(lies)])
			}
			if i == 0 {
				batch = slices.Insert(batch, len(batch)/2, entitled)
			}
			for _, fields := range o.deliver(batch...) {
				if shown := strings.Join(fields, "\n"); strings.Contains(shown, "domain=victim.example;") && !strings.Contains(shown, "status=unauthenticated") {
					t.Errorf("a spoof carries %s", shown)
				}
			}
		})
	}
	senders.Wait()
	t.Logf("%d spoofs in %v", messages, time.Since(began).Round(time.Millisecond))
	counted, err := o.store.Unauthenticated(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if rows := o.rows(); differ(rows, want) != "" {
		t.Errorf("what changed beside that:\n%s", differ(rows, want))
	}
	t.Logf("%d of them counted as unauthenticated at the last commit", counted)
}

// sequence is letters at random.
func sequence(r *rand.Rand, from []letter, n int) []letter {
	list := make([]letter, n)
	for i := range list {
		list[i] = from[r.Intn(len(from))]
	}
	return list
}

// properties runs a property on a few sequences; what it plays is a test of its own seed.
func properties(t *testing.T, property func(t *testing.T, r *rand.Rand)) {
	t.Helper()
	rounds := 20
	if underRace || testing.Short() {
		rounds = 2
	}
	for range rounds {
		seed := time.Now().UnixNano()
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) { property(t, rand.New(rand.NewSource(seed))) })
	}
}

// Property 1: letters without proof, wherever they stand, leave every row as it was.
func TestSpoofsAnywhereChangeNothing(t *testing.T) {
	t.Parallel()
	dns, honest, lies := officeDNS(t), proven(t), lying(t)
	properties(t, func(t *testing.T, r *rand.Rand) {
		letters := sequence(r, honest, 20)
		alone, among := openOffice(t, dns), openOffice(t, dns)
		alone.deliver(letters...)
		for range 40 {
			letters = slices.Insert(letters, r.Intn(len(letters)+1), lies[r.Intn(len(lies))])
		}
		among.deliver(letters...)
		if diff := differ(among.rows(), alone.rows()); diff != "" {
			t.Error(diff)
		}
	})
}

// What our own users and hosts write teaches to whom, whatever they say and however often: of
// whom they say they are it changes nothing (row 10).
func TestOwnMailTeachesRecipientsAlone(t *testing.T) {
	t.Parallel()
	dns, honest, lies := officeDNS(t), proven(t), lying(t)
	submitted, inside := at("198.51.100.77", "home.example"), at("10.1.2.3", "desk.own.example")
	submitted.Login = "anna@own.example"
	loopback := at("127.0.0.1", "localhost")
	properties(t, func(t *testing.T, r *rand.Rand) {
		letters := sequence(r, honest, 10)
		alone, among := openOffice(t, dns), openOffice(t, dns)
		alone.deliver(letters...)
		for _, l := range sequence(r, append(lies, honest...), 20) {
			l.peer = []miltertest.Peer{submitted, inside, loopback}[r.Intn(3)]
			l.message.To = []string{"b@friend.example", "c@victim.example"}
			letters = slices.Insert(letters, r.Intn(len(letters)+1), l)
		}
		among.deliver(letters...)
		// That we write to the victim too is noted, and says for how long it is kept.
		diff := differ(among.rows("learned", "worth"), alone.rows("learned", "worth"))
		for line := range strings.Lines(diff) {
			if !strings.HasPrefix(line, "+ domain: 'friend.example' ") && !strings.HasPrefix(line, "+ assessment: friend.example ") {
				t.Error(line)
			}
		}
		if diff == "" {
			t.Error("nothing was learned")
		}
	})
}

// Property 2: stars are those of the domain that the letter proves.
func TestStarsNeedProof(t *testing.T) {
	t.Parallel()
	dns, all := officeDNS(t), append(proven(t), lying(t)...)
	properties(t, func(t *testing.T, r *rand.Rand) {
		o := openOffice(t, dns)
		o.deliver(proven(t)...)
		if _, err := o.scores.Rejudge(t.Context()); err != nil {
			t.Fatal(err)
		}
		letters := sequence(r, all, 40)
		shown := 0
		for i, fields := range o.deliver(letters...) {
			text := strings.Join(fields, "\n")
			if !strings.Contains(text, "confidentiality=") && !strings.Contains(text, "*") {
				continue
			}
			shown++
			if p := letters[i].proves; p == "" || !strings.Contains(text, "domain="+p+";") {
				t.Errorf("%s shows\n%s", letters[i].name, text)
			}
			if strings.Contains(text, "dmarc=fail") {
				t.Errorf("%s fails DMARC and shows\n%s", letters[i].name, text)
			}
		}
		if shown == 0 {
			t.Error("no letter showed stars")
		}
	})
}

// Property 3: the order of letters does not matter.
func TestOrderOfLettersDoesNotMatter(t *testing.T) {
	t.Parallel()
	dns, all := officeDNS(t), append(proven(t), lying(t)...)
	properties(t, func(t *testing.T, r *rand.Rand) {
		letters := sequence(r, all, 30)
		one, other := openOffice(t, dns), openOffice(t, dns)
		one.deliver(letters...)
		r.Shuffle(len(letters), func(i, j int) { letters[i], letters[j] = letters[j], letters[i] })
		other.deliver(letters...)
		if diff := differ(other.rows(), one.rows()); diff != "" {
			t.Error(diff)
		}
	})
}

// A neighbour on a shared MX host lowers nobody, and its letters bear no stars.
func TestNeighbourOnSharedHost(t *testing.T) {
	o := openOffice(t, officeDNS(t))
	honest, lies := proven(t), lying(t)
	o.deliver(honest[0], honest[2], honest[8])
	before, failed := o.victim()
	for _, l := range lies[len(lies)-9:] {
		for _, fields := range o.deliver(l, l, l) {
			if text := strings.Join(fields, "\n"); !strings.Contains(text, "status=unauthenticated") || strings.Contains(text, "*") {
				t.Errorf("%s shows\n%s", l.name, text)
			}
		}
	}
	after, failedAfter := o.victim()
	for _, c := range assess.Categories {
		if after[c].Stars != before[c].Stars {
			t.Errorf("%s: %g stars, before %g", c, after[c].Stars, before[c].Stars)
		}
	}
	if failed != failedAfter {
		t.Errorf("failed tests of the victim: %s, before %s", failedAfter, failed)
	}
}

// Property 4: no letter from outside a domain's SPF and organisation lowers it.
func TestOutsidersLowerNobody(t *testing.T) {
	t.Parallel()
	dns, honest, lies := officeDNS(t), proven(t), lying(t)
	inside := []letter{honest[0], honest[2], honest[3], honest[8]}
	outside := append(slices.Clone(lies), honest[5], honest[7], honest[11], honest[12], honest[13], honest[14])
	properties(t, func(t *testing.T, r *rand.Rand) {
		o := openOffice(t, dns)
		o.deliver(inside...)
		before, failed := o.victim()
		o.deliver(sequence(r, outside, 60)...)
		after, failedAfter := o.victim()
		for _, c := range assess.Categories {
			if after[c].Stars < before[c].Stars || before[c].Known && !after[c].Known {
				t.Errorf("%s: %+v, before %+v", c, after[c], before[c])
			}
		}
		if failed != failedAfter {
			t.Errorf("failed tests of the victim: %s, before %s", failedAfter, failed)
		}
	})
}

// Property 5: what one host sends, however often, is one vote, and its own.
func TestOneHostOneVote(t *testing.T) {
	t.Parallel()
	dns, honest := officeDNS(t), proven(t)
	votes := []letter{honest[0], honest[1], honest[2], honest[3], honest[9]}
	properties(t, func(t *testing.T, r *rand.Rand) {
		letters := append(slices.Clone(votes), sequence(r, honest, 10)...)
		loud := votes[r.Intn(len(votes))]
		once, often := openOffice(t, dns), openOffice(t, dns)
		once.deliver(append(letters, loud)...)
		often.deliver(append(letters, slices.Repeat([]letter{loud}, 40)...)...)
		others := func(rows []string) (list []string) {
			for _, row := range rows {
				if strings.HasPrefix(row, "tally: ") && !strings.Contains(row, "'"+assess.ClientHost(loud.peer.Addr).String()+"'") {
					list = append(list, row)
				}
			}
			return list
		}
		tests := func(o *office) (n int) {
			e, err := o.store.Evidence(t.Context(), "victim.example", officeTime, 0)
			if err != nil {
				t.Fatal(err)
			}
			return len(e.Tally.Hosts)
		}
		if a, b := tests(once), tests(often); a != b {
			t.Errorf("%d hosts, %d", a, b)
		}
		if diff := differ(others(often.rows()), others(once.rows())); diff != "" {
			t.Error(diff)
		}
	})
}

// victim judges victim.example now: its scores, and how many tests of its hosts failed.
func (o *office) victim() (assess.Scores, string) {
	o.t.Helper()
	if _, err := o.scores.Rejudge(o.t.Context()); err != nil {
		o.t.Fatal(err)
	}
	e, err := o.store.Evidence(o.t.Context(), "victim.example", officeTime, assess.DefaultWindow)
	if err != nil {
		o.t.Fatal(err)
	}
	tls, spf, dkim := 0, 0, 0
	for _, h := range e.Tally.Hosts {
		tls, spf, dkim = tls+h.StartTLS.Failed, spf+h.SPF.Failed, dkim+h.DKIM.Failed
	}
	return o.scores.Standing(o.t.Context(), "victim.example").Scores, fmt.Sprintf("StartTLS %d, SPF %d, DKIM %d", tls, spf, dkim)
}
