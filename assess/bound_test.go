package assess

import (
	"encoding/json"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"
)

// stuff fills every list and text of a value with as much as a peer may send.
func stuff(v reflect.Value, text string) {
	switch v.Kind() {
	case reflect.String:
		if v.Type() == reflect.TypeFor[string]() { // the others are words of ours
			v.SetString(text)
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		stuff(v.Elem(), text)
	case reflect.Struct:
		for i := range v.NumField() {
			if field := v.Field(i); field.CanSet() {
				stuff(field, text)
			}
		}
	case reflect.Slice:
		n := 10
		switch v.Type().Elem() {
		case reflect.TypeFor[netip.Addr]():
			n = 100
		case reflect.TypeFor[byte]():
			n = 6000
		case reflect.TypeFor[SMTPFacts]():
			n = 1 // five of all hosts are not many more
		}
		v.Set(reflect.MakeSlice(v.Type(), n, n))
		for i := range n {
			if v.Index(i).Kind() != reflect.Uint8 {
				stuff(v.Index(i), text)
			}
		}
	}
}

func octets(t *testing.T, v any) int {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return len(text)
}

// Whatever field a stranger fills, with whatever, no more of it is kept than there is room for.
func TestBoundedWorst(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes seconds")
	}
	for name, text := range map[string]string{
		"letters": strings.Repeat("x", 2000), "control octets": strings.Repeat("\x01", 400), "no UTF-8": strings.Repeat("\xff", 400),
		"short": strings.Repeat("y", 300),
	} {
		var f Facts
		stuff(reflect.ValueOf(&f).Elem(), text)
		whole := octets(t, f)
		// At the least share there is a name and a list for each of what the limits of a run allow.
		if got := octets(t, f.Bounded()); got > 4*MaxFacts || got > whole {
			t.Errorf("%s: %d octets of %d", name, got, whole)
		}
		var s SMTPFacts
		stuff(reflect.ValueOf(&s).Elem(), text)
		if got := octets(t, s.Bounded()); got > MaxSession {
			t.Errorf("%s: a dialogue of %d octets", name, got)
		}
	}
}

// An honest run is kept to the octet, and so is what is beside that which is too long.
func TestBoundedKeeps(t *testing.T) {
	f := measuredFacts()
	before := octets(t, f)
	if got := f.Bounded(); !reflect.DeepEqual(got, *f) {
		t.Errorf("an honest run is changed: %+v", got)
	}
	long := *f
	long.SPF.Lookup.Records = []string{strings.Repeat("verification", 10_000), "v=spf1 -all"}
	long.Hosts.Hosts[0].Sessions[0].TLS = &TLSFacts{Chain: [][]byte{make([]byte, 3000), make([]byte, 2000)}}
	got := long.Bounded()
	switch {
	case octets(t, got) > MaxFacts:
		t.Errorf("%d octets", octets(t, got))
	case len(got.Hosts.Hosts[0].Sessions[0].TLS.Chain) != 2:
		t.Error("the chain is gone")
	case len(got.SPF.Lookup.Records) != 1 || !strings.HasSuffix(got.SPF.Lookup.Records[0], CutMark):
		t.Errorf("%d records", len(got.SPF.Lookup.Records))
	case len(long.SPF.Lookup.Records[0]) != 120_000:
		t.Error("what the facts share was cut as well")
	}
	if before > MaxFacts/3 {
		t.Errorf("an honest run has %d octets", before)
	}
}

// What was cut is judged as it was whole: nothing turns into a no.
func TestBoundedJudgement(t *testing.T) {
	whole := measuredFacts()
	whole.MTASTS.Policy = strings.Repeat("x", 64<<10)
	whole.DMARC.Reports = []string{"mailto:" + strings.Repeat("x", 40_000)}
	s := &whole.Hosts.Hosts[0].Sessions[0]
	for range 60 {
		s.TLSEHLO = append(s.TLSEHLO, "250-"+strings.Repeat("X", 1000))
	}
	s.TLSEHLO = append(s.TLSEHLO, "250 REQUIRETLS")
	part := whole.Bounded()
	if octets(t, part) > MaxFacts {
		t.Fatalf("%d octets", octets(t, part))
	}
	rules := Rules{Threshold: 0.8}
	before, after := Judge(Evidence{Facts: whole}, rules), Judge(Evidence{Facts: &part}, rules)
	for standard, v := range after {
		if v.Support != before[standard].Support && v.Support != SupportUnknown {
			t.Errorf("%s is %s, and %s when cut", standard, before[standard].Support, v.Support)
		}
	}
	if before.Support(RequireTLS) != SupportYes || after.Support(RequireTLS) != SupportUnknown {
		t.Errorf("REQUIRETLS is %s, and %s when cut", before.Support(RequireTLS), after.Support(RequireTLS))
	}
}

// Records that were cut are not those of a later run, be they alike as far as they go.
func TestBoundedIsNotKept(t *testing.T) {
	old := measuredFacts()
	old.Hosts.Hosts[0].DANE = DANEFacts{
		Lookup: Lookup{Status: LookupFound, Records: []string{"3 1 1 00", CutMark}}, Usable: 2, Match: Check{Result: Pass},
	}
	now := *measuredFacts()
	now.At = old.At.Add(time.Hour)
	now.Hosts.Hosts[0].Sessions = []SMTPFacts{dialogue("192.0.2.1", dead)}
	now.Hosts.Hosts[0].DANE = DANEFacts{Lookup: Lookup{Status: LookupFound, Records: []string{"3 1 1 00", CutMark}}, Usable: 2}
	if got := now.Keeping(old); got.Hosts.Hosts[0].DANE.Match.Result != Unknown {
		t.Errorf("%+v", got.Hosts.Hosts[0].DANE)
	}
}
