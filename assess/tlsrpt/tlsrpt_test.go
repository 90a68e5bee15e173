package tlsrpt

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func TestParseRecord(t *testing.T) {
	long := strings.Repeat("a", 32)
	tests := []struct {
		txt  string
		want string // the addresses of rua, or "" for a syntax error
	}{
		// The examples of section 3.1.
		{"v=TLSRPTv1;rua=mailto:reports@example.com", "mailto:reports@example.com"},
		{"v=TLSRPTv1; rua=https://reporting.example.com/v1/tlsrpt", "https://reporting.example.com/v1/tlsrpt"},

		{"v=TLSRPTv1; rua=mailto:a@x.example;", "mailto:a@x.example"},
		{"v=TLSRPTv1 \t; rua=mailto:a@x.example \t; ", "mailto:a@x.example"},
		{"v=TLSRPTv1; rua=mailto:a@x.example , \thttps://x.example/r", "mailto:a@x.example https://x.example/r"},
		{"v=TLSRPTv1; rua=mailto:a@x.example; rua=mailto:b@x.example", "mailto:a@x.example mailto:b@x.example"},
		{"v=TLSRPTv1; ext=1; rua=mailto:a@x.example; 1ext.name-1_x=value", "mailto:a@x.example"},
		{"v=TLSRPTv1; rua=mailto:a@x.example; " + long + "=1", "mailto:a@x.example"},
		{"v=TLSRPTv1; rua=MAILTO:a@x.example", "MAILTO:a@x.example"},
		{"v=TLSRPTv1; rua=mailto:first.last+tag@x.example?subject=tls", "mailto:first.last+tag@x.example?subject=tls"},
		{"v=TLSRPTv1; rua=mailto:a%21b@x.example", "mailto:a%21b@x.example"},
		{"v=TLSRPTv1; rua=https://x.example:8443/r?a=b#c", "https://x.example:8443/r?a=b#c"},
		{"v=TLSRPTv1; rua=https://[2001:db8::1]/r", "https://[2001:db8::1]/r"},
		{"v=TLSRPTv1; rua=ftp://x.example/,mailto:a@x.example", "mailto:a@x.example"},
		{"v=TLSRPTv1; rua=mailto:a@x.example \t", "mailto:a@x.example"},

		{"", ""},
		{"v=TLSRPTv1", ""},
		{"v=TLSRPTv1;", ""},
		{"v=TLSRPTv1; ", ""},
		{"v=TLSRPTv10; rua=mailto:a@x.example", ""},
		{"v=tlsrptv1; rua=mailto:a@x.example", ""},
		{"v = TLSRPTv1; rua=mailto:a@x.example", ""},
		{" v=TLSRPTv1; rua=mailto:a@x.example", ""},
		{"rua=mailto:a@x.example; v=TLSRPTv1", ""},
		{"v=TLSRPTv1 rua=mailto:a@x.example", ""},
		{"v=TLSRPTv1; ext=1", ""},
		{"v=TLSRPTv1; RUA=mailto:a@x.example", ""},
		{"v=TLSRPTv1; rua =mailto:a@x.example", ""},
		{"v=TLSRPTv1; rua= mailto:a@x.example", ""},
		{"v=TLSRPTv1; rua", ""},
		{"v=TLSRPTv1; rua=", ""},
		{"v=TLSRPTv1; rua=,", ""},
		{"v=TLSRPTv1; rua=mailto:a@x.example,", ""},
		{"v=TLSRPTv1; rua=mailto:a@x.example,,mailto:b@x.example", ""},
		{"v=TLSRPTv1; rua=mailto:a@x.example;;", ""},
		{"v=TLSRPTv1; ; rua=mailto:a@x.example", ""},
		{"v=TLSRPTv1; rua=mailto:a@x.example; ext=", ""},
		{"v=TLSRPTv1; rua=mailto:a@x.example; ext=a=b", ""},
		{"v=TLSRPTv1; rua=mailto:a@x.example; ext=a b", ""},
		{"v=TLSRPTv1; rua=mailto:a@x.example; _ext=a", ""},
		{"v=TLSRPTv1; rua=mailto:a@x.example; " + long + "a=1", ""},
		{"v=TLSRPTv1; rua=mailto:", ""},
		{"v=TLSRPTv1; rua=mailto:a", ""},
		{"v=TLSRPTv1; rua=mailto:.a@x.example", ""},
		{"v=TLSRPTv1; rua=mailto:a..b@x.example", ""},
		{"v=TLSRPTv1; rua=mailto:a@x.example!10m", ""},
		{"v=TLSRPTv1; rua=mailto:a%3E%20%3Cb@x.example", ""},
		{"v=TLSRPTv1; rua=mailto:a%FF@x.example", ""},
		{"v=TLSRPTv1; rua=a@x.example", ""},
		{"v=TLSRPTv1; rua=xhttps://x.example/", ""},
		{"v=TLSRPTv1; rua=http://x.example/", ""},
		{"v=TLSRPTv1; rua=https:", ""},
		{"v=TLSRPTv1; rua=https:///r", ""},
		{"v=TLSRPTv1; rua=https://:443/r", ""},
		{"v=TLSRPTv1; rua=https://x.example:r/", ""},
		{"v=TLSRPTv1; rua=https://[::::]/r", ""},
		{"v=TLSRPTv1; rua=https://x.example/a b", ""},
		{"v=TLSRPTv1; rua=https://x.example/%", ""},
		{"v=TLSRPTv1; rua=https://x.example/%zz", ""},
		{"v=TLSRPTv1; rua=https://x.example/#a#b", ""},
		{"v=TLSRPTv1; rua=https://x.example/\u00fc", ""},
		{"v=TLSRPTv1; rua=https://x.example/\x00", ""},
	}
	for _, tt := range tests {
		r, err := ParseRecord(tt.txt)
		if got := strings.Join(r.RUA, " "); got != tt.want || (err == nil) != (tt.want != "") {
			t.Errorf("ParseRecord(%q) = %+v, %v; want rua %q", tt.txt, r, err, tt.want)
		}
		if err != nil && !errors.Is(err, ErrSyntax) {
			t.Errorf("ParseRecord(%q): %v is no ErrSyntax", tt.txt, err)
		}
	}
}

func TestParseRecordKeepsAllAndWarns(t *testing.T) {
	got, err := ParseRecord("v=TLSRPTv1 ; rua=ftp://x.example/,mailto:a@x.example; e=1; rua=mailto:b@x.example; f=2; rua=mailto:c@x.example ")
	want := Record{
		RUA:        []string{"mailto:a@x.example", "mailto:b@x.example", "mailto:c@x.example"},
		Unusable:   []string{"ftp://x.example/"},
		Extensions: []Field{{"e", "1"}, {"f", "2"}},
		Warnings: []string{
			"white space at the end: the grammar has none, and some senders may ignore such a record",
			"white space before the first semicolon: some senders ignore such a record",
			"a second rua: some senders use the first only; put all addresses in one, separated by commas",
			"an address that is neither mailto: nor https: gets no reports",
		},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v\nwant %+v", got, err, want)
	}
}

func TestParseRecordLimit(t *testing.T) {
	fits := "v=TLSRPTv1; rua=mailto:a@x.example; x="
	fits += strings.Repeat("y", MaxRecord-len(fits))
	if _, err := ParseRecord(fits); err != nil {
		t.Errorf("%d bytes: %v", len(fits), err)
	}
	if _, err := ParseRecord(fits + "y"); !errors.Is(err, ErrTooLarge) {
		t.Errorf("%d bytes: got %v, want ErrTooLarge", len(fits)+1, err)
	}
}

func TestSelect(t *testing.T) {
	const good = "v=TLSRPTv1; rua=mailto:a@x.example"
	tests := []struct {
		txts []string
		want error
	}{
		{nil, ErrNoRecord},
		{[]string{"v=spf1 -all", "", "v="}, ErrNoRecord},
		{[]string{good}, nil},
		{[]string{"v=spf1 -all", "v=TLSRPTv1", "v=TLSRPTv1extra; junk", good}, nil},
		{[]string{good, good}, ErrMultipleRecords},
		{[]string{good, "v=TLSRPTv1 ;rua=mailto:b@x.example"}, ErrMultipleRecords},
		{[]string{"v=TLSRPTv1"}, ErrSyntax},
		{[]string{" v=tlsrptv1; rua=mailto:a@x.example"}, ErrSyntax},
	}
	for _, tt := range tests {
		got, err := Select(tt.txts)
		if !errors.Is(err, tt.want) || (err == nil) != (got == good) {
			t.Errorf("Select(%q) = %q, %v; want error %v", tt.txts, got, err, tt.want)
		}
	}
}

func TestRecordName(t *testing.T) {
	if got := RecordName("example.org"); got != "_smtp._tls.example.org" {
		t.Error(got)
	}
}

func TestConformanceRecords(t *testing.T) {
	dir := os.Getenv("PEERSCORE_CONFORMANCE")
	if dir == "" {
		t.Skip("PEERSCORE_CONFORMANCE is not set: left out tlsrpt/records.json")
	}
	data, err := os.ReadFile(filepath.Join(dir, "tlsrpt", "records.json"))
	if err != nil {
		t.Fatal(err)
	}
	var cases []struct {
		Input, Note string
		Valid       bool
	}
	if err := json.Unmarshal(data, &cases); err != nil {
		t.Fatal(err)
	}
	agree := 0
	for _, c := range cases {
		_, err := ParseRecord(c.Input)
		switch {
		case (err == nil) == c.Valid:
			agree++
		case strings.Contains(c.Note, "peers disagree"):
			t.Logf("not counted: %q: peer says %v, here %v: %s", c.Input, c.Valid, err == nil, c.Note)
		default:
			t.Errorf("%q: got %v, the peer says valid is %v (%s)", c.Input, err, c.Valid, c.Note)
		}
	}
	t.Logf("%d of %d cases agree", agree, len(cases))
}

// FuzzRecord holds that whatever is accepted keeps the promises of Record, and
// stays so when it is written anew.
func FuzzRecord(f *testing.F) {
	f.Add("v=TLSRPTv1; rua=mailto:tlsrpt@example.org;")
	f.Add("v=TLSRPTv1 ;rua=https://[::1]/%20,ftp://x;e=1;rua=mailto:b@x.example?subject=1")
	f.Fuzz(func(t *testing.T, txt string) {
		r, err := ParseRecord(txt)
		if err != nil {
			return
		}
		if len(r.RUA) == 0 || len(r.Warnings) > 4 {
			t.Fatalf("accepted %q as %+v", txt, r)
		}
		anew := kind.Version + "; rua=" + strings.Join(append(r.RUA, r.Unusable...), ",")
		for _, e := range r.Extensions {
			anew += "; " + e.Name + "=" + e.Value
		}
		again, err := ParseRecord(anew)
		if err != nil || !reflect.DeepEqual(again.RUA, r.RUA) || !reflect.DeepEqual(again.Extensions, r.Extensions) {
			t.Fatalf("%q gave %+v, written anew %q gave %+v, %v", txt, r, anew, again, err)
		}
	})
}
