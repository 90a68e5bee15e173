package mtasts

import (
	"errors"
	"reflect"
	"strings"
	"testing"
)

func TestParseRecord(t *testing.T) {
	long := strings.Repeat("a", 32)
	tests := []struct {
		txt  string
		want string // the id, or "" for a syntax error
	}{
		{"v=STSv1; id=20160831085700Z;", "20160831085700Z"}, // the example of section 3.1
		{"v=STSv1;id=1", "1"},
		{"v=STSv1; \t id=1  \t; \t", "1"},
		{"v=STSv1 ;id=1 ; ", "1"},
		{"v=STSv1; id=" + long, long},
		{"v=STSv1; id=" + long + "a", ""},
		{"v=STSv1; ext=https://x.example/(\"'; id=abc", "abc"},
		{"v=STSv1; id=a; 1ext.name-1_x=value", "a"},
		{"v=STSv1; id=first; id=second", "first"},
		{"v=STSv1; id=first; id=x-y", "first"}, // a later one need only be a field
		{"v=STSv1; id=x-y; id=second", ""},
		{"v=STSv1; id=first; id=", ""},
		{"v=STSv1; v=STSv2; id=a", "a"}, // v is no field of its own, so an extension
		{"", ""},
		{"v=STSv1", ""},
		{"v=STSv1;", ""},
		{"v=STSv1; ", ""},
		{"v=STSv1; ext=1", ""},
		{"v=STSv1 id=a", ""},
		{"v=STSv10; id=a", ""},
		{"v=stsv1; id=a", ""},
		{"V=STSv1; id=a", ""},
		{"v =STSv1; id=a", ""},
		{" v=STSv1; id=a", ""},
		{"id=a; v=STSv1", ""},
		{"v=STSv1; id =a", ""},
		{"v=STSv1; id= a", ""},
		{"v=STSv1; ID=a", ""},
		{"v=STSv1; id=a ", ""}, // white space goes with a semicolon
		{"v=STSv1; id=a b", ""},
		{"v=STSv1; id=2016-08-31", ""},
		{"v=STSv1; id=\"a\"", ""},
		{"v=STSv1; ; id=a", ""},
		{"v=STSv1; id=a;;", ""},
		{"v=STSv1; id=a; ext", ""},
		{"v=STSv1; id=a; ext=", ""},
		{"v=STSv1; id=a; ext=a=b", ""},
		{"v=STSv1; id=a; ext=a b", ""},
		{"v=STSv1; id=a; ext=\u00fc", ""},
		{"v=STSv1; id=a; ext=\x01", ""},
		{"v=STSv1; id=a; _ext=x", ""},
		{"v=STSv1; id=a; =x", ""},
		{"v=STSv1; id=a; " + long + "=x", "a"},
		{"v=STSv1; id=a; " + long + "a=x", ""},
		{"v=STSv1; id=a; x%=1", ""},
	}
	for _, tt := range tests {
		r, err := ParseRecord(tt.txt)
		if r.ID != tt.want || (err == nil) != (tt.want != "") {
			t.Errorf("ParseRecord(%q) = %+v, %v; want id %q", tt.txt, r, err, tt.want)
		}
		if err != nil && !errors.Is(err, ErrRecordSyntax) {
			t.Errorf("ParseRecord(%q): %v is no ErrRecordSyntax", tt.txt, err)
		}
	}
}

func TestParseRecordKeepsExtensionsAndWarns(t *testing.T) {
	r, err := ParseRecord("v=STSv1 ; id=a; more=1; id=b; ext=2; id=c")
	want := Record{
		ID:         "a",
		Extensions: []Field{{"more", "1"}, {"ext", "2"}},
		Warnings: []string{
			"white space before the first semicolon: some senders ignore such a record",
			"a second id: only the first counts",
		},
	}
	if err != nil || !reflect.DeepEqual(r, want) {
		t.Errorf("got %+v, %v; want %+v", r, err, want)
	}
}

func TestParseRecordLimit(t *testing.T) {
	fits := "v=STSv1; id=a; x=" + strings.Repeat("y", MaxRecord-len("v=STSv1; id=a; x="))
	if _, err := ParseRecord(fits); err != nil {
		t.Errorf("%d bytes: %v", len(fits), err)
	}
	if _, err := ParseRecord(fits + "y"); !errors.Is(err, ErrTooLarge) {
		t.Errorf("%d bytes: got %v, want ErrTooLarge", len(fits)+1, err)
	}
}

func TestSelect(t *testing.T) {
	const good = "v=STSv1; id=a"
	tests := []struct {
		txts []string
		want error
	}{
		{nil, ErrNoRecord},
		{[]string{"v=spf1 -all", "", "v="}, ErrNoRecord},
		{[]string{good}, nil},
		{[]string{"v=spf1 -all", good, "verification=1"}, nil},
		{[]string{"v=STSv1", good, "v=STSv10; id=a", "v=STSv1-x; id=a", "v=stsv1; id=a", "id=a; v=STSv1"}, nil},
		{[]string{good, good}, ErrMultipleRecords},
		{[]string{good, "v=STSv1 ;id=b"}, ErrMultipleRecords},
		{[]string{good, "v=STSv1;"}, ErrMultipleRecords},
		{[]string{"v=STSv1"}, ErrRecordSyntax},
		{[]string{"v=STSv2; id=a"}, ErrRecordSyntax},
		{[]string{" v=stsv1; id=a"}, ErrRecordSyntax},
	}
	for _, tt := range tests {
		got, err := Select(tt.txts)
		if !errors.Is(err, tt.want) || (err == nil) != (got == good) {
			t.Errorf("Select(%q) = %q, %v; want error %v", tt.txts, got, err, tt.want)
		}
	}
}

func TestNames(t *testing.T) {
	if got := RecordName("example.org"); got != "_mta-sts.example.org" {
		t.Error(got)
	}
	if got := PolicyURL("example.org"); got != "https://mta-sts.example.org/.well-known/mta-sts.txt" {
		t.Error(got)
	}
}

// FuzzRecord holds that whatever is accepted is what the grammar promises, and
// stays so when it is written anew.
func FuzzRecord(f *testing.F) {
	f.Add("v=STSv1; id=20160831085700Z;")
	f.Add("v=STSv1 ;id=a; ext=1; id=b;;")
	f.Fuzz(func(t *testing.T, txt string) {
		r, err := ParseRecord(txt)
		if err != nil {
			return
		}
		if !kind.Announces(txt) || !validID(r.ID) {
			t.Fatalf("accepted %q as %+v", txt, r)
		}
		anew := kind.Version + "; id=" + r.ID
		for _, e := range r.Extensions {
			anew += "; " + e.Name + "=" + e.Value
		}
		again, err := ParseRecord(anew)
		if err != nil || again.ID != r.ID || !reflect.DeepEqual(again.Extensions, r.Extensions) {
			t.Fatalf("%q gave %+v, written anew %q gave %+v, %v", txt, r, anew, again, err)
		}
	})
}
