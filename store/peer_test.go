package store

import (
	"slices"
	"testing"
	"time"

	"peerscore/assess"
	"peerscore/assess/dnsname"
)

// scored is an assessment with stars of our choice, below 0 for none.
func scored(d dnsname.Domain, confidentiality, identity, integrity float64) assess.Assessment {
	a := assessed(d, noon)
	for c, stars := range map[assess.Category]float64{assess.Confidentiality: confidentiality, assess.Identity: identity, assess.Integrity: integrity} {
		a.Scores[c] = assess.Score{Known: stars >= 0, Stars: max(stars, 0)}
	}
	return a
}

func TestPeers(t *testing.T) {
	s := open(t, Options{})
	for _, a := range []assess.Assessment{
		scored("good.example", 4.5, 5, 4), scored("fair.example", 3, 4, 2.5), scored("poor.example", 5, 4, 2),
		scored("part.example", 3.5, -1, 4), scored("none.example", -1, -1, -1),
	} {
		check(t, s.SaveAssessment(t.Context(), a))
	}
	addAll(t, s, observe("poor.example", "192.0.2.1"), observe("new.example", "192.0.2.1", at(noon.Add(-day))), observe("new.example", "192.0.2.2", at(noon.Add(-day))))

	for _, c := range []struct {
		filter Filter
		want   []dnsname.Domain
	}{
		{Filter{}, []dnsname.Domain{"fair.example", "good.example", "new.example", "none.example", "part.example", "poor.example"}},
		{Filter{Sort: "domain", Limit: 2}, []dnsname.Domain{"fair.example", "good.example"}},
		{Filter{Sort: "confidentiality"}, []dnsname.Domain{"poor.example", "good.example", "part.example", "fair.example", "new.example", "none.example"}},
		{Filter{Sort: "identity", Limit: 3}, []dnsname.Domain{"good.example", "fair.example", "poor.example"}},
		{Filter{Sort: "integrity", Limit: 3}, []dnsname.Domain{"good.example", "part.example", "fair.example"}},
		{Filter{Sort: "seen", Limit: 3}, []dnsname.Domain{"poor.example", "new.example", "fair.example"}},
		{Filter{Sort: "sessions", Limit: 3}, []dnsname.Domain{"new.example", "poor.example", "fair.example"}},
		{Filter{Sort: "assessed", Limit: 1}, []dnsname.Domain{"fair.example"}},
		{Filter{Below: 3.5}, []dnsname.Domain{"fair.example", "poor.example"}},
		{Filter{Below: 2.5}, []dnsname.Domain{"poor.example"}},
		{Filter{Level: assess.LevelProtected}, []dnsname.Domain{"good.example", "part.example"}},
		{Filter{Level: assess.LevelMinimum}, []dnsname.Domain{"fair.example"}},
		{Filter{Level: assess.LevelUnprotected}, []dnsname.Domain{"poor.example"}},
		{Filter{Level: assess.LevelUnknown}, []dnsname.Domain{"new.example", "none.example"}},
		{Filter{Since: noon.Add(-day)}, []dnsname.Domain{"new.example", "poor.example"}},
		{Filter{Since: noon.Add(-time.Hour), Below: 5}, []dnsname.Domain{"poor.example"}},
	} {
		peers, err := s.Peers(t.Context(), c.filter)
		check(t, err)
		var got []dnsname.Domain
		for _, p := range peers {
			got = append(got, p.Domain)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%+v: %v, want %v", c.filter, got, c.want)
		}
	}
}

func TestEverySortHasAnOrder(t *testing.T) {
	s := open(t, Options{})
	for _, sort := range Sorts {
		if _, err := s.Peers(t.Context(), Filter{Sort: sort}); err != nil {
			t.Error(err)
		}
	}
	for _, f := range []Filter{{Sort: "name; DROP TABLE domain"}, {Level: "best"}} {
		if _, err := s.Peers(t.Context(), f); err == nil {
			t.Errorf("%+v was accepted", f)
		}
	}
}

func TestPeer(t *testing.T) {
	s := open(t, Options{})
	a := scored("a.example", 4.5, -1, 0)
	check(t, s.SaveAssessment(t.Context(), a))
	addAll(t, s, observe("a.example", "192.0.2.1", at(noon.Add(time.Minute))), observe("a.example", "192.0.2.1"))
	check(t, s.Postpone(t.Context(), "a.example", noon.Add(day)))
	p, err := s.Peer(t.Context(), "a.example")
	check(t, err)
	if p.Domain != "a.example" || p.Status != a.Status || p.Credited != 2 ||
		!p.FirstSeen.Equal(noon) || !p.LastSeen.Equal(noon.Add(time.Minute)) || !p.Assessed.Equal(noon) || !p.Next.Equal(noon.Add(day)) {
		t.Errorf("%+v", p)
	}
	if c := p.Scores[assess.Confidentiality]; !c.Known || c.Stars != 4.5 || p.Scores[assess.Identity].Known || !p.Scores[assess.Integrity].Known {
		t.Errorf("scores %+v", p.Scores)
	}
}
