package milter

import (
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// FuzzResults reads foreign Authentication-Results: what it makes of them, written anew with
// every value in quotes, is read as the same.
func FuzzResults(f *testing.F) {
	for _, value := range []string{
		"mx.example; none", "mx.example 1; spf=pass smtp.mailfrom=example.org; dkim=fail (bad (very)) reason=\"a \\\" b\" header.d=example.org header.b=abc",
		`mx.example; spf=pass smtp.mailfrom="a;b"@example.org;`, "mx.example; dkim/1=pass header . d = x", "mx.example; (", `"mx"; a=b c."d.e"=f`, ";;;", "mx.example; A=B a=",
	} {
		f.Add(value)
	}
	quote := func(s string) string { return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"` }
	f.Fuzz(func(t *testing.T, value string) {
		methods, err := parseResults(value)
		if err != nil {
			return
		}
		if len(methods) > maxMethodResults || servIDOf(value) == "" {
			t.Errorf("%d methods by %q", len(methods), servIDOf(value))
		}
		var again strings.Builder
		again.WriteString("mx.example")
		for _, m := range methods {
			if m.method == "" || m.result == "" || m.method != strings.ToLower(m.method) {
				t.Errorf("%+v", m)
			}
			again.WriteString("; " + quote(m.method) + "=" + quote(m.result))
			for _, name := range slices.Sorted(maps.Keys(m.properties)) {
				again.WriteString(" " + quote(name) + "=" + quote(m.properties[name]))
			}
		}
		if again.Len() > maxResultsLength {
			return
		}
		if got, err := parseResults(again.String()); err != nil || !reflect.DeepEqual(got, methods) {
			t.Errorf("%q\n%q\n got %+v, %v\nwant %+v", value, again.String(), got, err, methods)
		}
	})
}
