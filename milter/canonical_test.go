package milter

import (
	"fmt"
	"math/rand"
	"regexp"
	"strings"
	"testing"

	msgauth "github.com/emersion/go-msgauth/dkim"

	"peerscore/assess"
)

// What is made canonical before go-msgauth sees it has the hash that go-msgauth alone finds:
// what go-msgauth signed is valid, however the body is cut into chunks.
func TestCanonicalForms(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes seconds")
	}
	const seed = 8
	r := rand.New(rand.NewSource(seed))
	for n := range 400 {
		checkCanonicalForm(t, draw(r, " \t\r\n", "xy"), drawValue(r), 1+r.Intn(20))
		if t.Failed() {
			t.Fatalf("after %d of seed %d", n, seed)
		}
	}
}

// draw is a text of the two alphabets, long enough for runs of the first.
func draw(r *rand.Rand, blanks, letters string) string {
	var b strings.Builder
	for range r.Intn(40) {
		alphabet := []string{blanks, letters, "\r\n"}[r.Intn(3)]
		if alphabet == "\r\n" {
			b.WriteString(alphabet)
			continue
		}
		for range 1 + r.Intn(4) {
			b.WriteByte(alphabet[r.Intn(len(alphabet))])
		}
	}
	return b.String()
}

// drawValue is the value of a field, with folds as CR LF.
func drawValue(r *rand.Rand) string {
	text := strings.NewReplacer("\r\n", "\r\n ", "\n", "\t").Replace(draw(r, " \t", "x\r:=;\xe4\f"))
	return regexp.MustCompile("\r+\n").ReplaceAllString(text, "\r\n")
}

func checkCanonicalForm(t *testing.T, body, value string, chunk int) {
	t.Helper()
	base := "From: a@example.org\r\nX-A:" + value + "\r\nSubject: x\r\n\r\n" + body
	for _, c := range []msgauth.Canonicalization{msgauth.CanonicalizationSimple, msgauth.CanonicalizationRelaxed} {
		for _, h := range []msgauth.Canonicalization{msgauth.CanonicalizationSimple, msgauth.CanonicalizationRelaxed} {
			text := signed(t, base, "example.org", "ed", func(o *msgauth.SignOptions) {
				o.HeaderKeys = []string{"From", "X-A", "X-A"}
				o.HeaderCanonicalization, o.BodyCanonicalization = h, c
			})
			head, sent, _ := strings.Cut(text, "\r\n\r\n")
			l := newLab(t, world)
			m := l.server.newMessage(client{}, "")
			for _, line := range strings.Split(strings.NewReplacer("\r\n ", "\n ", "\r\n\t", "\n\t").Replace(head), "\r\n") {
				name, value, _ := strings.Cut(line, ":")
				m.header.add(name, value)
			}
			m.begin()
			for rest := []byte(sent); len(rest) > 0; rest = rest[min(len(rest), chunk):] {
				m.body(rest[:min(len(rest), chunk)])
			}
			a, _ := m.evaluation.finish(t.Context())
			m.close()
			if len(a.signatures) != 1 || a.signatures[0].finding.result != assess.Pass {
				t.Errorf("%s/%s in chunks of %d: %q: %q: %s", h, c, chunk, value, body, fmt.Sprint(a.signatures))
			}
		}
	}
}

func FuzzCanonicalForms(f *testing.F) {
	f.Add(" \r\n\r x\t \r\n \r", " a\r\n b ", 3)
	f.Fuzz(func(t *testing.T, body, value string, chunk int) {
		value = strings.NewReplacer("\r", "", "\n", "\r\n ", "\x00", "").Replace(value)
		if len(body)+len(value) < 10_000 && !strings.Contains(value, "\n \n") {
			checkCanonicalForm(t, body, value, max(1, chunk%100))
		}
	})
}
