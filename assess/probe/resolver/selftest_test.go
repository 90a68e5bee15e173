package resolver

import (
	"strings"
	"testing"
	"time"

	"peerscore/assess/probe/probetest"
)

func TestSelfTest(t *testing.T) {
	validating := serve(t, probetest.DNSConfig{}).Addr()
	blind := serve(t, probetest.DNSConfig{NotValidating: true}).Addr()
	silent := serve(t, probetest.DNSConfig{Failures: map[string]probetest.Failure{". *": probetest.Timeout}}).Addr()
	unsigned := serve(t, probetest.DNSConfig{Zones: []probetest.Zone{{Name: "."}, {Name: "lab.example", Signed: true}}}).Addr()
	tests := []struct {
		name    string
		servers []string
		config  Config
		want    Validates
		detail  string
	}{
		{"validates", []string{validating}, Config{}, ValidatesYes, validating + " validates"},
		{"does not", []string{blind}, Config{}, ValidatesNo, blind + " does not validate: the root's DNSKEY set came without AD"},
		{"does not answer", []string{silent}, Config{}, ValidatesUnknown, silent + " could not be tested: timeout"},
		{"is not believed", []string{validating}, Config{TrustAD: TrustNever}, ValidatesUnknown, "the AD bit of " + validating + " is not believed (dns.trust_ad)"},
		{"root unsigned", []string{unsigned}, Config{}, ValidatesNo, "came without AD"},
		{"a name of one's own", []string{validating}, Config{SelfTestName: "Signed.example"}, ValidatesYes, "validates"},
		{"a name that is unsigned", []string{validating}, Config{SelfTestName: "plain.example"}, ValidatesNo, "the DNSKEY set of plain.example came without AD"},
		{"not a name", []string{validating}, Config{SelfTestName: "not a name"}, ValidatesUnknown, "no name to test with"},
		{"both validate", []string{validating, validating}, Config{}, ValidatesYes, "; "},
		{"one does not", []string{validating, blind}, Config{}, ValidatesNo, blind + " does not validate"},
		{"one does not answer", []string{validating, silent}, Config{}, ValidatesUnknown, silent + " could not be tested"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tt.config.Timeout = time.Second
			r := newResolver(t, tt.config, tt.servers...)
			if v := r.Validation(); v.Validates != ValidatesUnknown || v.Detail == "" {
				t.Errorf("before the test %+v", v)
			}
			got := r.SelfTest(ctx)
			if got.Validates != tt.want || !strings.Contains(got.Detail, tt.detail) {
				t.Errorf("%+v, want %q, %q", got, tt.want, tt.detail)
			}
			if kept := r.Validation(); kept != got {
				t.Errorf("kept %+v of %+v", kept, got)
			}
		})
	}
}

// What was judged before the outcome changed is judged again; a test that fails changes nothing.
func TestSelfTestChanges(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes seconds")
	}
	s := serve(t, probetest.DNSConfig{})
	r := newResolver(t, Config{Timeout: time.Second}, s.Addr())
	steps := []struct {
		change    func()
		want      Security
		validates Validates
	}{
		{func() {}, Indeterminate, ValidatesUnknown},
		{func() { r.SelfTest(ctx) }, Insecure, ValidatesYes},
		{func() { s.Fail(". *", probetest.Timeout); r.SelfTest(ctx) }, Insecure, ValidatesYes},
		{func() { s.Fail(". *", ""); s.Set(probetest.Zone{Name: "."}); r.SelfTest(ctx) }, Indeterminate, ValidatesNo},
	}
	for i, step := range steps {
		step.change()
		if got := r.Query(ctx, "a.plain.example", A).Security; got != step.want {
			t.Errorf("step %d: %q, want %q", i, got, step.want)
		}
		if got := r.Validation().Validates; got != step.validates {
			t.Errorf("step %d: validates %q, want %q", i, got, step.validates)
		}
	}
}
