package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"log/slog"
	"math"
	"math/bits"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"peerscore/milter"
	"peerscore/milter/miltertest"
)

// The parts of a message, and the knobs.
const (
	partHead = iota
	partBody
	partSPF
	partDMARC
)

const (
	knobSignatures = iota
	knobCanonical
	knobAlgorithm
	knobSigned
	knobSigner
	knobFold
	knobPath
	knobClient
	knobRecipients
	knobMacros
	knobTrust
)

var (
	signatureCounts   = []int{0, 1, 2, 5, 6, 20}
	canonicalisations = []string{"relaxed/relaxed", "simple/simple", "relaxed/simple", "simple/relaxed"}
	algorithms        = []string{"rsa2048", "rsa1024", "rsa4096", "ed25519", "exponent"}
	signers           = []string{"sender.example", "a.b.c.d.e.f.g.h.i.j.sender.example", "victim.example"}
	paths             = []string{"a@sender.example", "", strings.Repeat("l-", 500) + "@sender.example", "a@" + strings.Repeat("d.", 100) + "victim.example", strings.Repeat(".", 2000) + "@sender.example"}
	recipientCounts   = []int{1, 100, 1000}
)

// maxSignatures is how many signatures of a message the milter evaluates (assess/probe/limits.md, section 1).
const maxSignatures = 5

func messageSurface() *surface {
	return &surface{
		name: "message",
		slow: true,
		parts: []part{
			partHead: {"header", []string{
				"X:", "X: a\r\n", ":", "\r\n ", "\r\n\t", " ", "\t", "a", "\r\n", " \r\n", "(", ")", "\"", "\\", "<", ">", ",", ";", "=", "\x00", "\xff",
				"Peer-Score:a\r\n", "Peer-Score-Identity: *****\r\n", "Authentication-Results: mx.receiver.example; dkim=pass header.d=sender.example\r\n",
				"Authentication-Results: ", "From: a@sender.example\r\n", "From: ", "Subject: a\r\n", "List-Id: a\r\n", "ARC-Seal: a\r\n",
				"DKIM-Signature: ", "DKIM-Signature: v=1; a=rsa-sha256; d=sender.example; s=k; h=From; bh=YQ==; b=YQ==\r\n", "v=1; ", "b=", "h=", "h=From:", "z=", "d=sender.example; ", strings.Repeat("x", 900),
				"DKIM-Signature: v=1; a=rsa-sha256; d=" + strings.Repeat("漢", 60) + ".example; s=k; h=From; bh=YQ==; b=YQ==\r\n", "From: a@" + strings.Repeat("漢", 60) + ".example\r\n", "漢",
			}, 300 << 10},
			partBody: {"body", []string{
				"\r\n", " \r\n", "\t\r\n", " ", "\t", "a", "a ", " a", "\r", "\n", "a\r\n", "a \r\n", ".\r\n", "\x00", "\xff", strings.Repeat("a", 76) + "\r\n", strings.Repeat(" ", 900), strings.Repeat("x", 4096),
			}, 10 << 20},
			partSPF: {"SPF record", []string{
				"a ", "mx ", "ptr ", "a:%{l}.victim.example ", "mx:victim.example ", "include:sender.example ", "include:%{d}.victim.example ", "exists:%{i}.%{l}.victim.example ",
				"redirect=sender.example ", "ip4:192.0.2.0/24 ", "ip4:203.0.113.1 ", "%{d99r.-+,/_=}", "%{h}", "%%", "x=", "-all ", " ",
				"%{h1}", "%{s1r}", "%{l1}", "%{p}",
			}, 4 << 10},
			partDMARC: {"DMARC record", []string{"p=none; ", "adkim=s; ", "psd=y; ", "psd=n; ", "rua=mailto:a@b.example,", ";", " ", "a", "="}, 4 << 10},
		},
		knobs: []knob{
			knobSignatures: {"signatures", len(signatureCounts)}, knobCanonical: {"canonicalisation", len(canonicalisations)},
			knobAlgorithm: {"algorithm", len(algorithms)}, knobSigned: {"signed fields", 4}, knobSigner: {"d=", len(signers)},
			knobFold: {"folds of the signature", 3}, knobPath: {"reverse-path", len(paths)}, knobClient: {"client name", 2},
			knobRecipients: {"recipients", len(recipientCounts)}, knobMacros: {"macros", 2}, knobTrust: {"trust", 2},
		},
		// assess/probe/limits.md, section 1, cost of a message. Twice an ordinary one; 40, 8, 5 and 1 questions.
		limits: limits{ratio: 2, cpu: 300 * time.Millisecond, held: 4 << 20, queries: 54},
		known: []string{
			"21.-1x20000 | | | | knobs 0 0 0 0 0 0 0 0 0 0 0",      // forged copies
			"0.-1x1 1.7x60000 | | | | knobs 3 3 0 1 0 0 0 0 0 0 0", // folds that are signed
			"0.-1x1 1.7x60000 | | | | knobs 3 0 0 1 0 0 0 0 0 0 0",
			" | 1.-1x3495253 | | | knobs 3 0 0 0 0 0 0 0 0 0 0", // lines of white space
			" | 0.-1x5000000 | | | knobs 3 1 0 0 0 0 0 0 0 0 0", // blank lines
			" | 10.-1x3000000 11.-1x1 | | | knobs 3 2 0 0 0 0 0 0 0 0 0",
			"39.-1x250 | | | | knobs 0 0 0 0 0 0 0 0 0 0 0",                                  // names in Unicode
			"5.-1x256 | 4.-1x281 | 6.-1x3 | 6.-1x2150 0.-1x37 | knobs 1 3 4 2 1 2 4 1 1 0 0", // the longest key and exponent, twenty queries
		},
		start:    newMilterBench,
		ordinary: ordinaryMessage,
		kin: func(in input) string {
			return fmt.Sprint(countSignatures(in), algorithms[ordinaryAlgorithm(in)], countFields(in), headerShare(in), in.knobs[knobRecipients])
		},
	}
}

// countSignatures is how many signatures the milter may evaluate. One at the least: of a message
// without any the MTA does not even send the body, whatever its size.
func countSignatures(in input) int {
	n := signatureCounts[in.knobs[knobSignatures]] + strings.Count(in.texts[partHead], "DKIM-Signature:")
	return min(max(n, 1), maxSignatures)
}

// countFields is how many fields the header has, or up to an eighth less. Each
// is a packet of the milter protocol, as each recipient is, and a message that has as many is not
// ordinary, but its MTA pays for that more than we do.
func countFields(in input) int {
	n := 1
	for line := range strings.SplitSeq(in.texts[partHead], "\r\n") {
		if line != "" && line[0] != ' ' && line[0] != '\t' {
			n++
		}
	}
	return n &^ (1<<max(0, bits.Len(uint(n))-4) - 1)
}

// headerShare is how many eighths of the text are its header, which has to be kept as a whole where
// the body streams by.
func headerShare(in input) int {
	header, body := len(in.texts[partHead]), len(in.texts[partBody])
	return 8 * header / max(1, header+body)
}

// ordinaryAlgorithm is that of an honest signer whose keys are as long: many have keys of 4096
// bits, each of which costs four times one of 2048, and nobody has a large exponent.
func ordinaryAlgorithm(in input) int {
	switch algorithms[in.knobs[knobAlgorithm]] {
	case "rsa4096", "exponent":
		return slices.Index(algorithms, "rsa4096")
	}
	return slices.Index(algorithms, "rsa2048")
}

// ordinaryMessage has as many signatures by keys as long, as many fields and recipients, as large
// a header, and lines of text.
func ordinaryMessage(in input, octets int) input {
	out := input{texts: make([]string, 4), knobs: make([]int, len(in.knobs)), ordinary: true}
	out.knobs[knobSignatures] = slices.IndexFunc(signatureCounts, func(n int) bool { return n >= countSignatures(in) })
	out.knobs[knobAlgorithm], out.knobs[knobRecipients] = ordinaryAlgorithm(in), in.knobs[knobRecipients]
	out.texts[partHead] = "Subject: the minutes of today\r\nDate: Fri, 20 Nov 2026 10:00:00 +0000\r\nMessage-ID: <1@sender.example>\r\nMIME-Version: 1.0\r\n" +
		"Received: from mail.sender.example (mail.sender.example [192.0.2.1])\r\n\tby mx.receiver.example with ESMTPS id 4T5; Fri, 20 Nov 2026 10:00:00 +0000\r\n" +
		ordinaryFields(max(1, countFields(in)-5), min(octets*headerShare(in)/8, evaluatedHeader))
	out.texts[partBody] = strings.Repeat(ordinaryLine, octets/len(ordinaryLine)+1)[:max(0, octets-len(out.texts[partHead]))]
	out.texts[partSPF], out.texts[partDMARC] = "ip4:192.0.2.0/24 include:sender.example -all", "p=none"
	return out
}

const ordinaryLine = "and this is one line of an ordinary message, as people write them to each o\r\n"

// evaluatedHeader is well below the size of a header past which a message is not evaluated.
const evaluatedHeader = 200 << 10

// ordinaryFields are so many fields, folded as usual, of so many octets together.
func ordinaryFields(n, octets int) string {
	field := "X-Seen: once\r\n" + strings.Repeat(" "+ordinaryLine, octets/n/len(ordinaryLine))
	return strings.Repeat(field, n)
}

// milterBench is the milter behind its socket, with a DNS in memory.
type milterBench struct {
	servers   [2]*milter.Server // verify, trust
	addresses [2]string
	clients   [2]*miltertest.Client
	dns       *fakeDNS
	keys      map[string]string // key records by algorithm
}

func newMilterBench() (bench, error) {
	b := &milterBench{dns: &fakeDNS{}, keys: map[string]string{}}
	for i, authentication := range []milter.Authentication{milter.Verify, milter.Trust} {
		b.servers[i] = milter.New(milter.Config{
			Resolver: func(int) milter.Resolver { return b.dns }, Recorder: nothing{}, Reputation: nothing{}, Learner: nothing{}, Logger: slog.New(slog.DiscardHandler),
			Hostname: "mx.receiver.example", Policy: milter.Policy{
				Authentication: authentication, TrustedAuthservIDs: []string{"mx.receiver.example"}, Score: true, Bars: true, AuthenticationResults: true, LearnRecipients: true,
			},
		})
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		go func() { _ = b.servers[i].Serve(listener) }()
		b.addresses[i] = listener.Addr().String()
	}
	return b, b.makeKeys()
}

// meter is for what takes less than a millisecond, as most messages do: the runtime of Go has work
// of its own that takes as long, and whom it hits is chance.
func (*milterBench) meter() meter { return repeated(4 * time.Millisecond) }

func (b *milterBench) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	for i, client := range b.clients {
		if client != nil {
			client.Close()
		}
		_ = b.servers[i].Shutdown(ctx) // the process is about to end
	}
	return nil
}

func (b *milterBench) makeKeys() error {
	for _, bits := range []int{1024, 2048, 4096} {
		key, err := rsa.GenerateKey(rand.Reader, bits)
		if err != nil {
			return err
		}
		if b.keys[fmt.Sprintf("rsa%d", bits)], err = rsaRecord(&key.PublicKey); err != nil {
			return err
		}
		if bits == 4096 { // the largest exponent that is accepted
			if b.keys["exponent"], err = rsaRecord(&rsa.PublicKey{N: key.N, E: math.MaxInt32}); err != nil {
				return err
			}
		}
	}
	public, _, err := ed25519.GenerateKey(rand.Reader)
	b.keys["ed25519"] = "v=DKIM1; k=ed25519; p=" + base64.StdEncoding.EncodeToString(public)
	return err
}

func rsaRecord(key *rsa.PublicKey) (string, error) {
	der, err := x509.MarshalPKIXPublicKey(key)
	return "v=DKIM1; k=rsa; p=" + base64.StdEncoding.EncodeToString(der), err
}

// run sends one message.
func (b *milterBench) run(in input, m meter) (use, int, error) {
	data := b.message(in)
	peer := miltertest.Peer{Addr: netip.MustParseAddr("192.0.2.1"), HELO: "mail.sender.example", TLSVersion: "TLSv1.3", Cipher: "TLS_AES_256_GCM_SHA384"}
	if in.knobs[knobClient] == 1 {
		peer.Name = peer.HELO
	}
	macros := 0
	if in.knobs[knobMacros] == 1 {
		macros = 40 << 10
		peer.Macros = map[string]string{"{cert_subject}": strings.Repeat("x", macros/2), "{cipher}": strings.Repeat("(", macros/2)}
	}
	letter := miltertest.Message{QueueID: "4T5", From: paths[in.knobs[knobPath]], Data: data}
	for i := range recipientCounts[in.knobs[knobRecipients]] {
		letter.To = append(letter.To, fmt.Sprintf("b@d%d.receiver.example", i))
	}
	letter.Parse()
	client, err := b.client(in.knobs[knobTrust])
	if err != nil {
		return use{}, 0, err
	}
	b.dns.set(in, b.keys[algorithms[in.knobs[knobAlgorithm]]])
	u, err := m(func() error {
		b.dns.queries.Store(0)
		if err := client.Connect(peer); err != nil {
			return err
		}
		_, err := client.Send(peer, letter)
		return err
	})
	if err != nil { // a packet that the milter answers by closing the session
		client.Close()
		b.clients[in.knobs[knobTrust]] = nil
	}
	u.queries = int(b.dns.queries.Load())
	return u, len(data) + len(letter.From) + macros, nil
}

// client is the connection to the milter that verifies, or to the one that trusts.
func (b *milterBench) client(trust int) (*miltertest.Client, error) {
	var err error
	if b.clients[trust] == nil {
		b.clients[trust], err = miltertest.Dial("tcp", b.addresses[trust])
	}
	return b.clients[trust], err
}

// message is the text: signatures, From, the odd fields, and the body.
func (b *milterBench) message(in input) []byte {
	body := in.texts[partBody]
	var out bytes.Buffer
	for i := range signatureCounts[in.knobs[knobSignatures]] {
		out.WriteString(signatureField(in, i))
	}
	out.WriteString("From: someone <someone@sender.example>\r\n")
	for _, line := range strings.SplitAfter(in.texts[partHead], "\r\n") {
		switch {
		case strings.Trim(line, " \t\r\n") == "" && !strings.HasSuffix(line, "\r\n") || line == "\r\n":
			continue // it would end the header
		case line[0] != ' ' && line[0] != '\t' && !strings.Contains(line, ":"):
			line = "X:" + line
		}
		out.WriteString(strings.TrimSuffix(line, "\r\n") + "\r\n")
	}
	out.WriteString("\r\n" + body)
	return out.Bytes()
}

// signatureField is one that all has to be computed for: the hash of the body is right, and
// what it signs is not.
func signatureField(in input, n int) string {
	algorithm, octets := "rsa-sha256", 256
	switch algorithms[in.knobs[knobAlgorithm]] {
	case "rsa1024":
		octets = 128
	case "rsa4096", "exponent":
		octets = 512
	case "ed25519":
		algorithm, octets = "ed25519-sha256", 64
	}
	canonical := canonicalisations[in.knobs[knobCanonical]]
	hash := sha256.Sum256(canonicalBody(in.texts[partBody], strings.HasSuffix(canonical, "/relaxed")))
	b64 := base64.StdEncoding.EncodeToString
	signature := b64(bytes.Repeat([]byte{1}, octets))
	names := [...]string{"From:Subject", "From:X:Subject:List-Id:DKIM-Signature:Authentication-Results:Peer-Score", "From" + strings.Repeat(":From", 99), "From" + strings.Repeat(":X", 99)}[in.knobs[knobSigned]]
	switch in.knobs[knobFold] {
	case 1:
		signature = strings.Join(strings.Split(signature, ""), "\r\n ")
	case 2:
		names = strings.Join(strings.Split(names, ":"), "\r\n :")
	}
	return fmt.Sprintf("DKIM-Signature: v=1; a=%s; c=%s; d=%s; s=k%d;\r\n h=%s;\r\n bh=%s;\r\n b=%s\r\n",
		algorithm, canonical, signers[in.knobs[knobSigner]], n, names, b64(hash[:]), signature)
}

// canonicalBody is RFC 6376, section 3.4.3 or 3.4.4.
func canonicalBody(body string, relaxed bool) []byte {
	if relaxed {
		var out strings.Builder
		for line := range strings.SplitAfterSeq(body, "\r\n") {
			text, ended := strings.CutSuffix(line, "\r\n")
			blank := false
			for i := range len(text) {
				if text[i] == ' ' || text[i] == '\t' {
					blank = true
					continue
				}
				if blank {
					out.WriteByte(' ')
				}
				blank = false
				out.WriteByte(text[i])
			}
			if ended {
				out.WriteString("\r\n")
			}
		}
		body = out.String()
	}
	for strings.HasSuffix(body, "\r\n") {
		body = strings.TrimSuffix(body, "\r\n")
	}
	if body == "" && relaxed {
		return nil
	}
	return []byte(body + "\r\n")
}
