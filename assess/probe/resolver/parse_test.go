package resolver

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/miekg/dns"
)

func TestCanonicalName(t *testing.T) {
	label63, name253 := strings.Repeat("a", 63), strings.Repeat(strings.Repeat("a", 49)+".", 5)+"abc"
	tests := []struct {
		name, want string
		ok         bool
	}{
		{"example.org", "example.org", true},
		{"Example.ORG.", "example.org", true},
		{"_25._tcp.mx-1.example", "_25._tcp.mx-1.example", true},
		{".", ".", true},
		{label63 + ".example", label63 + ".example", true},
		{label63 + "a.example", "", false},
		{name253, name253, true},
		{name253 + ".", name253, true},
		{name253 + "d", "", false},
		{"", "", false},
		{"..", "", false},
		{".example", "", false},
		{"a..example", "", false},
		{"example..", "", false},
		{"a b.example", "", false},
		{"a\x00.example", "", false},
		{`a\.b.example`, "", false},
		{"*.example", "", false},
		{"bücher.example", "", false},
		{"[192.0.2.1]", "", false},
	}
	for _, tt := range tests {
		if got, ok := canonicalName(tt.name); got != tt.want || ok != tt.ok {
			t.Errorf("canonicalName(%q) = %q, %v, want %q, %v", tt.name, got, ok, tt.want, tt.ok)
		}
	}
}

// Every octet of a TXT record arrives as it is, whatever the library makes of it on the way.
func TestTXTOctets(t *testing.T) {
	var all strings.Builder
	for i := range 256 {
		all.WriteByte(byte(i))
	}
	for _, want := range []string{all.String()[:128], all.String()[128:], `\`, `\\1`, `"\065`, "123\x00456", ""} {
		wire := append([]byte{0, 0, 16, 0, 1, 0, 0, 0, 0, 0, byte(len(want) + 1), byte(len(want))}, want...)
		record, _, err := dns.UnpackRR(wire, 0)
		if err != nil {
			t.Fatal(err)
		}
		if got := octets(record.(*dns.TXT).Txt); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestTTL(t *testing.T) {
	const soa = "example. 900 SOA ns.example. h.example. 1 2 3 4 "
	tests := []struct {
		name      string
		answer    []string
		authority []string
		want      time.Duration
	}{
		{"of the record", []string{"x.example. 60 A 192.0.2.1"}, nil, time.Minute},
		{"least of the set", []string{"x.example. 60 A 192.0.2.1", "x.example. 40 A 192.0.2.2"}, nil, 40 * time.Second},
		{"least of the chain", []string{"x.example. 40 CNAME y.example.", "y.example. 60 A 192.0.2.1"}, nil, 40 * time.Second},
		{"zero", []string{"x.example. 0 A 192.0.2.1"}, nil, minTTL},
		{"few seconds", []string{"x.example. 29 A 192.0.2.1"}, nil, minTTL},
		{"a week", []string{"x.example. 604800 A 192.0.2.1"}, nil, maxTTL},
		{"past 2^31-1", []string{"x.example. 2147483648 A 192.0.2.1"}, nil, minTTL},
		{"denial: minimum of the SOA", nil, []string{soa + "300"}, 5 * time.Minute},
		{"denial: TTL of the SOA", nil, []string{soa + "86400"}, 15 * time.Minute},
		{"denial: the cap", nil, []string{"example. 86400 SOA ns.example. h.example. 1 2 3 4 86400"}, maxDenial},
		{"denial at the end of a chain", []string{"x.example. 40 CNAME y.example."}, []string{soa + "300"}, 40 * time.Second},
		{"denial: zero", nil, []string{soa + "0"}, minTTL},
		{"denial without an SOA", nil, nil, failureTTL},
	}
	for _, tt := range tests {
		m := new(dns.Msg).SetQuestion("x.example.", dns.TypeA)
		for _, record := range tt.answer {
			m.Answer = append(m.Answer, rr(record))
			m.Answer[len(m.Answer)-1].Header().Rdlength = 4 // as if it had been unpacked
		}
		for _, record := range tt.authority {
			m.Ns = append(m.Ns, rr(record))
		}
		if got := parse(m, question{"x.example", A}).TTL; got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestExtendedError(t *testing.T) {
	tests := []struct {
		code uint16
		text string
		want string
	}{
		{6, "", "DNSSEC Bogus"},
		{7, "it expired", "Signature Expired: it expired"},
		{60000, "private", "EDE 60000: private"},
		{0, "not \xff UTF-8", "Other: not \uFFFD UTF-8"},
		{0, strings.Repeat("x", 60000), "Other: " + strings.Repeat("x", maxEDEText)},
	}
	for _, tt := range tests {
		m := new(dns.Msg).SetEdns0(maxUDP, true)
		m.IsEdns0().Option = []dns.EDNS0{&dns.EDNS0_NSID{}, &dns.EDNS0_EDE{InfoCode: tt.code, ExtraText: tt.text}}
		if got := extendedError(m); got != tt.want {
			t.Errorf("%d %.20q = %q, want %q", tt.code, tt.text, got, tt.want)
		}
	}
}

// Only signatures out of their time say enough alone; a server that had nobody to ask says nothing.
func TestRefusal(t *testing.T) {
	for _, tt := range []struct {
		codes []uint16
		want  Security
	}{
		{nil, Suspect}, {[]uint16{6}, Suspect}, {[]uint16{9}, Suspect}, {[]uint16{10}, Suspect}, {[]uint16{12}, Suspect}, {[]uint16{13}, Suspect},
		{[]uint16{7}, Bogus}, {[]uint16{8}, Bogus}, {[]uint16{6, 7}, Bogus}, {[]uint16{8, 6}, Bogus},
		{[]uint16{5}, Indeterminate}, {[]uint16{14}, Indeterminate}, {[]uint16{22}, Indeterminate}, {[]uint16{23, 6}, Indeterminate}, {[]uint16{7, 22}, Indeterminate},
	} {
		m := new(dns.Msg).SetEdns0(maxUDP, true)
		for _, code := range tt.codes {
			m.IsEdns0().Option = append(m.IsEdns0().Option, &dns.EDNS0_EDE{InfoCode: code})
		}
		if got := refusalOf(m); got != tt.want {
			t.Errorf("%v: %q, want %q", tt.codes, got, tt.want)
		}
	}
	if got := refusalOf(new(dns.Msg)); got != Suspect {
		t.Errorf("without EDNS: %q", got)
	}
}

// FuzzReply: whatever a server sends, decoding ends, and an answer holds to the limits.
func FuzzReply(f *testing.F) {
	types := []Type{A, NS, CNAME, SOA, PTR, MX, TXT, AAAA, DS, DNSKEY, TLSA}
	query := func(rtype Type) *dns.Msg {
		m := new(dns.Msg).SetQuestion("x.example.", uint16(rtype))
		m.Id = 0x1234
		return m
	}
	for i, rtype := range types {
		f.Add(byte(i), reply(query(rtype), nil, aliases(3)...))
		f.Add(byte(i), reply(query(rtype), nil, `x.example. 60 TXT "a\"b" "c"`, "x.example. 60 MX 0 .", "x.example. 60 TLSA 3 1 1 00", "x.example. 60 AAAA ::1",
			"x.example. 60 NS y.", "x.example. 60 PTR y.", "x.example. 60 DS 1 13 2 00", "x.example. 60 DNSKEY 257 3 13 AAAA", "x.example. 60 SOA a. b. 1 2 3 4 5"))
		f.Add(byte(i), compressionBomb(query(rtype), 5))
		f.Add(byte(i), reply(query(rtype), func(m *dns.Msg) {
			m.SetEdns0(maxUDP, true)
			m.IsEdns0().Option = []dns.EDNS0{&dns.EDNS0_EDE{InfoCode: 6, ExtraText: "bogus"}}
			m.Ns = []dns.RR{rr("example. 900 SOA ns.example. h.example. 1 2 3 4 5"), rr("example. 1 NS y.")}
		}))
	}
	f.Fuzz(func(t *testing.T, i byte, message []byte) {
		q := question{"x.example", types[int(i)%len(types)]}
		m, err := decode(message, query(q.t))
		if err != nil {
			return
		}
		a := parse(m, q)
		switch {
		case a.Status == "", a.Security != Indeterminate, (a.Status == Failed) != (a.Reason != ""):
			t.Errorf("state: %+v", a)
		case (a.Status == Found) != (len(a.Records) > 0), len(a.Records) > maxSet, len(a.Aliases) > maxAliases:
			t.Errorf("records: %+v", a)
		case a.Status == Found && len(a.MX)+len(a.Addrs)+len(a.TLSA) > len(a.Records):
			t.Errorf("fields: %+v", a)
		case a.TTL < 0, a.TTL > maxTTL, !utf8.ValidString(a.EDE):
			t.Errorf("TTL or EDE: %+v", a)
		}
		for _, addr := range a.Addrs {
			if !addr.IsValid() || addr.Is4() != (q.t == A) {
				t.Errorf("address %v", addr)
			}
		}
	})
}
