package milter

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-msgauth/dkim"
)

// The examples of RFC 6376 section 3.4.5, and what is odd about the ends of lines.
func TestBodyHash(t *testing.T) {
	tests := []struct{ body, simple, relaxed string }{
		{" C \r\nD \t E\r\n\r\n\r\n", " C \r\nD \t E\r\n", " C\r\nD E\r\n"},
		{"", "\r\n", ""},
		{"\r\n\r\n", "\r\n", ""},
		{" \t\r\n", " \t\r\n", ""},
		{"a", "a\r\n", "a\r\n"},
		{"a\nb\n\n", "a\r\nb\r\n", "a\r\nb\r\n"},
		{"a\r\n \r\n\t\r\nb", "a\r\n \r\n\t\r\nb\r\n", "a\r\n\r\n\r\nb\r\n"},
		{"a  b \t c\td", "a  b \t c\td\r\n", "a b c d\r\n"},
		{"\t a\r\n", "\t a\r\n", " a\r\n"},
		{"a\rb\r\r\nc\r", "a\rb\r\r\nc\r\r\n", "a\rb\r\r\nc\r\r\n"},
		{strings.Repeat("long line ", 2000), strings.Repeat("long line ", 2000) + "\r\n", strings.Repeat(" long line", 2000)[1:] + "\r\n"},
	}
	for _, tt := range tests {
		for form, want := range map[canonicalisation]string{simpleForm: tt.simple, relaxedForm: tt.relaxed} {
			for _, size := range []int{1, 2, 3, len(tt.body) + 1} {
				if got := sumOf(form, tt.body, size); !bytes.Equal(got, sumOfText(want)) {
					t.Errorf("%s of %.60q in pieces of %d is not the hash of %.60q", form, tt.body, size, want)
				}
			}
		}
	}
}

func sumOf(form canonicalisation, body string, size int) []byte {
	b := newBodyHash(form)
	for piece := range slices.Chunk([]byte(body), size) {
		b.write(piece)
	}
	return b.finish()
}

func sumOfText(text string) []byte {
	b := newBodyHash(simpleForm)
	b.sum.Write([]byte(text))
	return b.sum.Sum(nil)
}

// FuzzDKIM compares the verdict on a message that go-msgauth signed, and then somebody
// changed, with that of go-msgauth.
func FuzzDKIM(f *testing.F) {
	f.Add("Subject: minutes\r\nX-A:\t odd \r\n  fold\r\n", "Here  they are. \r\n\r\n \r\n", false, true, uint16(0), byte(0))
	f.Add("To: b@example.net\r\nTO : c\r\nto:d\r\n", "\n\n a\tb\r\n\r\n", true, false, uint16(99), byte(7))
	f.Add("DKIM-Signature: v=1; b=x\r\n", "", true, true, uint16(500), byte(32))
	f.Fuzz(func(t *testing.T, fields, body string, relaxedHeader, relaxedBody bool, at uint16, change byte) {
		message := "From: a@example.org\r\n" + fields + "\r\n" + body
		options := &dkim.SignOptions{Domain: "example.org", Selector: "ed", Signer: keys["ed"]}
		if relaxedHeader {
			options.HeaderCanonicalization = dkim.CanonicalizationRelaxed
		}
		if relaxedBody {
			options.BodyCanonicalization = dkim.CanonicalizationRelaxed
		}
		var out bytes.Buffer
		if !comparable(message) || dkim.Sign(&out, strings.NewReader(message), options) != nil {
			return
		}
		text := out.Bytes()
		text[int(at)%len(text)] ^= change
		if !comparable(string(text)) {
			return
		}
		theirs, _ := dkim.VerifyWithOptions(bytes.NewReader(text), &dkim.VerifyOptions{
			LookupTXT: func(string) ([]string, error) { return []string{keyRecord(keys["ed"])}, nil }, MaxVerifications: 1,
		})
		if len(theirs) == 0 {
			return // not one signature: the change hit its name
		}
		ours := firstFinding(string(text))
		if got, want := ours.token == "pass", theirs[0].Err == nil; got != want {
			t.Errorf("%+v, go-msgauth says %v\n%q", ours, theirs[0].Err, text)
		}
	})
}

// firstFinding is that of the first signature of a message.
func firstFinding(message string) finding {
	h := header{}
	body := h.read(message)
	chosen, _ := h.signatures("example.org", true, time.Now())
	if len(chosen) == 0 {
		return finding{}
	}
	first := slices.MinFunc(chosen, func(a, b signature) int { return a.index - b.index })
	v := newVerification(h.fields, first)
	v.run(context.Background(), world)
	v.body = newBodyHash(first.bodyForm)
	v.body.write([]byte(body))
	return v.conclude(map[*bodyHash][]byte{v.body: v.body.finish()})
}

// comparable leaves out what no MTA hands over, a header that is none, and what go-msgauth
// reads in ways of its own: a CR alone, "b=" inside another tag, letters beyond ASCII.
func comparable(message string) bool {
	if strings.ContainsAny(strings.ReplaceAll(message, "\r\n", ""), "\r") {
		return false
	}
	head, _, _ := strings.Cut(message, "\r\n\r\n")
	head = strings.NewReplacer("\r\n ", "", "\r\n\t", "").Replace(head)
	for line := range strings.SplitSeq(head, "\r\n") {
		name, value, found := strings.Cut(line, ":")
		if !found || strings.TrimSpace(name) == "" || lower(line) != strings.ToLower(line) || strings.ContainsAny(line, "\n\x00") || strings.Count(strings.ReplaceAll(value, " ", ""), "b=") > 1 {
			return false
		}
	}
	return true
}
