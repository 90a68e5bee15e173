package probe

import (
	"cmp"
	"context"
	"net/netip"
	"slices"
	"sync"

	"peerscore/assess"
	"peerscore/assess/dnsname"
)

// Memory remembers dialogues across runs and restarts. The store is one; NewMemory is another
// for programs that keep nothing.
type Memory interface {
	// HostRecords are what is known of an address, one record for each server name that was asked for.
	HostRecords(ctx context.Context, addr netip.Addr) ([]assess.HostRecord, error)
	// SaveHostRecord replaces the record of the session's address and server name.
	SaveHostRecord(ctx context.Context, record assess.HostRecord) error
	// TakeDialogue counts one dialogue in each of the shares on a day ("2026-11-20"), or in none
	// where one of them is used up: it returns that one's index, else -1.
	TakeDialogue(ctx context.Context, day string, shares []assess.Share) (full int, err error)
}

// NewMemory is a memory that ends with the process. It holds some kilobytes for each address.
func NewMemory() Memory {
	return &volatile{records: make(map[netip.Addr][]assess.HostRecord), counts: make(map[part]int)}
}

type volatile struct {
	mu      sync.Mutex
	records map[netip.Addr][]assess.HostRecord
	day     string
	counts  map[part]int // of day
}

func (m *volatile) HostRecords(_ context.Context, addr netip.Addr) ([]assess.HostRecord, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.records[addr]), nil
}

func (m *volatile) SaveHostRecord(_ context.Context, record assess.HostRecord) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	addr := record.Session.Address
	m.records[addr] = withRecord(m.records[addr], record)
	return nil
}

func (m *volatile) TakeDialogue(_ context.Context, day string, shares []assess.Share) (full int, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if day != m.day {
		m.day = day
		clear(m.counts)
	}
	full = slices.IndexFunc(shares, func(s assess.Share) bool { return m.counts[part{s.Network, s.Of}] >= s.Limit })
	if full >= 0 {
		return full, nil
	}
	for _, s := range shares {
		m.counts[part{s.Network, s.Of}]++
	}
	return -1, nil
}

// maxNamesPerAddress bounds the records of one address.
const maxNamesPerAddress = 16

// withRecord puts a record in the place of the one with the same server name or, where there is
// none, behind the others, of which one goes where there are too many.
func withRecord(records []assess.HostRecord, record assess.HostRecord) []assess.HostRecord {
	records = slices.Clone(records)
	i := slices.IndexFunc(records, func(r assess.HostRecord) bool { return r.Session.ServerName == record.Session.ServerName })
	if i >= 0 {
		records[i] = record
		return records
	}
	for len(records) >= maxNamesPerAddress {
		i := leastWorth(records, record)
		records = slices.Delete(records, i, i+1)
	}
	return append(records, record)
}

// leastWorth is the index of the record that makes room for another: one that has lapsed, else one
// that did not answer, else one of the younger half. There the organisation that has the most
// goes before others, and what was asked longest ago before the rest. So nobody who has any
// number of names for an address pushes out those that were there before; store has the same
// rule. The records are in the order in which their names first came.
func leastWorth(records []assess.HostRecord, another assess.HostRecord) int {
	of := map[dnsname.Domain]int{another.Organisation: 1}
	for _, r := range records {
		of[r.Organisation]++
	}
	worth := func(i int) (worth int) {
		if another.Session.At.Before(records[i].NotBefore.Add(assess.HostRecordLapse)) {
			worth += 4
		}
		if records[i].Failures == 0 {
			worth += 2
		}
		if i < maxNamesPerAddress/2 {
			worth++
		}
		return worth
	}
	least := 0
	for i, r := range records {
		if cmp.Or(
			cmp.Compare(worth(i), worth(least)),
			cmp.Compare(of[records[least].Organisation], of[r.Organisation]),
			r.Session.At.Compare(records[least].Session.At),
		) < 0 {
			least = i
		}
	}
	return least
}

// recent is the layer before a memory: the records of the addresses that were asked for
// lately, so that a thousand domains on one host cost the memory one look.
type recent struct {
	Memory
	mu      sync.Mutex
	records map[netip.Addr][]assess.HostRecord
	octets  int // of all records
}

// What bounds the layer. Past either the layer begins anew.
const (
	maxRecent       = 4096     // addresses
	maxRecentOctets = 32 << 20 // of their records, about
)

func newRecent(memory Memory) *recent {
	return &recent{Memory: memory, records: make(map[netip.Addr][]assess.HostRecord)}
}

// lately are the records that the layer itself has; nil sends the caller to HostRecords.
func (r *recent) lately(addr netip.Addr) []assess.HostRecord {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.records[addr]
}

func (r *recent) HostRecords(ctx context.Context, addr netip.Addr) ([]assess.HostRecord, error) {
	records, err := r.Memory.HostRecords(ctx, addr)
	if err == nil {
		r.keep(addr, records)
	}
	return records, err
}

func (r *recent) SaveHostRecord(ctx context.Context, record assess.HostRecord) error {
	addr := record.Session.Address
	r.keep(addr, withRecord(r.lately(addr), record))
	return r.Memory.SaveHostRecord(ctx, record)
}

func (r *recent) keep(addr netip.Addr, records []assess.HostRecord) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.octets += octetsOf(records) - octetsOf(r.records[addr])
	if len(r.records) >= maxRecent || r.octets > maxRecentOctets {
		clear(r.records)
		r.octets = octetsOf(records)
	}
	r.records[addr] = records
}

// octetsOf is about what records take in memory: their certificates and lines, and the rest.
func octetsOf(records []assess.HostRecord) (octets int) {
	const rest = 1 << 10
	for _, r := range records {
		octets += rest
		for _, line := range slices.Concat(r.Session.EHLO, r.Session.TLSEHLO) {
			octets += len(line)
		}
		chains := []*assess.TLSFacts{r.Session.TLS}
		if r.Session.Other != nil {
			chains = append(chains, r.Session.Other.TLS)
		}
		for _, seen := range chains {
			if seen != nil {
				octets += size(seen.Chain)
			}
		}
	}
	return octets
}

func size(chain [][]byte) (octets int) {
	for _, der := range chain {
		octets += len(der)
	}
	return octets
}
