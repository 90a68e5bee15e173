package milter

import (
	"context"
	"errors"
	"net"
	"net/netip"

	"peerscore/assess/spf"
)

// lookUp calls look with what the resolver has in memory, which for most mail is all that look
// needs, and spares it a goroutine. What was not there look is to get beside the others; the
// channel is closed once it has. What a panic left undone stays so.
func (e *evaluation) lookUp(look func(spf.Resolver)) <-chan struct{} {
	remembered := memory{resolver: e.resolver}
	complete := false
	e.message.server.contain(func() {
		look(&remembered)
		complete = !remembered.gap
	})
	if complete {
		return nothingToLookUp
	}
	done := make(chan struct{})
	e.message.server.spawn(func() {
		defer close(done)
		look(e.resolver)
	})
	return done
}

// nothingToLookUp is closed.
var nothingToLookUp = func() <-chan struct{} {
	done := make(chan struct{})
	close(done)
	return done
}()

// memory is what a resolver answers without asking anybody: all that it can for somebody who
// has stopped waiting. It never blocks.
type memory struct {
	resolver spf.Resolver
	gap      bool // something was asked for that was not there
}

// over is a context that has ended.
var over = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

func (m *memory) LookupTXT(_ context.Context, name string) ([]string, error) {
	texts, err := m.resolver.LookupTXT(over, name)
	return texts, m.note(err)
}

func (m *memory) LookupNetIP(_ context.Context, network, host string) ([]netip.Addr, error) {
	addrs, err := m.resolver.LookupNetIP(over, network, host)
	return addrs, m.note(err)
}

func (m *memory) LookupMX(_ context.Context, name string) ([]*net.MX, error) {
	hosts, err := m.resolver.LookupMX(over, name)
	return hosts, m.note(err)
}

func (m *memory) LookupAddr(_ context.Context, addr string) ([]string, error) {
	names, err := m.resolver.LookupAddr(over, addr)
	return names, m.note(err)
}

func (m *memory) note(err error) error {
	m.gap = m.gap || err != nil && !isNotFound(err)
	return err
}

// isNotFound tells an answer, that there are no such records, from a failure to get one.
func isNotFound(err error) bool {
	dnsErr := (*net.DNSError)(nil)
	return errors.As(err, &dnsErr) && dnsErr.IsNotFound
}
