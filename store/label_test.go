package store

import (
	"errors"
	"reflect"
	"testing"

	"peerscore/assess/dnsname"
)

func TestLabels(t *testing.T) {
	s := open(t, Options{})
	addAll(t, s, observe("a.example", "192.0.2.1"), observe("b.example", "192.0.2.2"))
	for _, tt := range []struct {
		domain     dnsname.Domain
		categories []string
		want       map[dnsname.Domain][]string
	}{
		{"a.example", []string{"university", "bank", "bank"}, map[dnsname.Domain][]string{"a.example": {"bank", "university"}}},
		{"b.example", []string{"bank"}, map[dnsname.Domain][]string{"a.example": {"bank", "university"}, "b.example": {"bank"}}},
		{"a.example", []string{"isp"}, map[dnsname.Domain][]string{"a.example": {"isp"}, "b.example": {"bank"}}},
		{"b.example", nil, map[dnsname.Domain][]string{"a.example": {"isp"}}},
	} {
		check(t, s.SetLabels(t.Context(), tt.domain, tt.categories))
		if got, err := s.Labels(t.Context()); err != nil || !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s in %q: %v (%v), want %v", tt.domain, tt.categories, got, err, tt.want)
		}
	}
	if err := s.SetLabels(t.Context(), "c.example", []string{"bank"}); !errors.Is(err, ErrUnknownDomain) {
		t.Errorf("of a domain that is not known: %v", err)
	}
	check(t, s.Forget(t.Context(), "a.example"))
	if got, err := s.Labels(t.Context()); err != nil || len(got) > 0 {
		t.Errorf("after forget: %v, %v", got, err)
	}
}
