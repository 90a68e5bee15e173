package milter

import (
	"context"
	"strings"
	"testing"

	"peerscore/assess/spf"
)

// forgetful is a resolver that has nothing in memory but what is named.
type forgetful struct {
	zone
	but string
}

func (f forgetful) remembers(ctx context.Context, name string) error {
	if strings.EqualFold(name, f.but) {
		return nil
	}
	return ctx.Err()
}

func (f forgetful) LookupTXT(ctx context.Context, name string) ([]string, error) {
	if err := f.remembers(ctx, name); err != nil {
		return nil, err
	}
	return f.zone.LookupTXT(ctx, name)
}

func (f forgetful) LookupAddr(ctx context.Context, addr string) ([]string, error) {
	if err := f.remembers(ctx, addr); err != nil {
		return nil, err
	}
	return f.zone.LookupAddr(ctx, addr)
}

// A look-up is made once where memory has all of it, else once more with the resolver.
func TestLookUp(t *testing.T) {
	ask := func(r spf.Resolver) {
		_, _ = r.LookupTXT(t.Context(), "example.org")
		_, _ = r.LookupTXT(t.Context(), "absent.example")
	}
	for _, tt := range []struct {
		name     string
		resolver spf.Resolver
		look     func(spf.Resolver)
		times    int
	}{
		{"all in memory, absence too", world, ask, 1},
		{"nothing in memory", forgetful{world, ""}, ask, 2},
		{"half of it", forgetful{world, "example.org"}, ask, 2},
		{"a failure in memory", zone{"TXT example.org": {"SERVFAIL"}}, ask, 2},
		{"a panic", world, func(spf.Resolver) { panic("a bug") }, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := &evaluation{message: &message{server: newLab(t, world).server}, resolver: tt.resolver}
			times := 0
			<-e.lookUp(func(r spf.Resolver) {
				times++
				tt.look(r)
			})
			if times != tt.times {
				t.Errorf("looked %d times, want %d", times, tt.times)
			}
		})
	}
}

// SPF passes over a "ptr" that it cannot look up (RFC 7208 section 5.5): what is not in memory
// must not be taken for that.
func TestLookUpNeverDecidesOnAGap(t *testing.T) {
	z := zone{
		"TXT example.org":               {"v=spf1 ptr -all"},
		"PTR " + outbound.Addr.String(): {"mx.example.org."}, "ip4 mx.example.org": {outbound.Addr.String()},
	}
	l := newLab(t, z, func(c *Config) {
		c.Resolver, c.Policy.AuthenticationResults = forgetful{z, "example.org"}, true
	})
	delivered := l.send(t, outbound, fromExample(t))
	if got := values(delivered, "Authentication-Results"); len(got) != 1 || !strings.Contains(got[0], "spf=pass") {
		t.Errorf("%q", got)
	}
}
