// Package egress decides which addresses a worker may connect to on behalf of a payload,
// so that whoever writes payloads cannot reach what only the worker's host reaches.
//
// What always holds:
//
//   - The address that is judged is the one that is dialled: after the name was resolved,
//     before the connection is made, for every dial. How a host is spelled, and what its
//     name says the next time, does not matter.
//   - An IPv4 address is judged as itself when it comes mapped into IPv6. Those in NAT64,
//     6to4 and Teredo addresses are denied where the IPv4 address is.
//   - Deny goes before Allow, Allow before the mode.
//   - Under Public what is not known to be the internet is denied, under None everything.
package egress

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"syscall"
)

// Mode is what may be reached where neither Deny nor Allow has the address.
type Mode string

// The modes.
const (
	Public Mode = "public" // the internet, no network beside it
	Any    Mode = "any"
	None   Mode = "none" // nothing but what Allow has
)

// Options say what may be reached.
type Options struct {
	Mode        Mode
	Allow, Deny []netip.Prefix
}

// Guard judges addresses. It is immutable; a nil Guard allows any.
type Guard struct{ opts Options }

// New returns a Guard. It fails for an unknown mode.
func New(o Options) (*Guard, error) {
	if o.Mode != Public && o.Mode != Any && o.Mode != None {
		return nil, fmt.Errorf("egress %q: must be %s, %s or %s", o.Mode, Public, Any, None)
	}
	g := &Guard{Options{Mode: o.Mode}}
	for _, list := range []struct{ from, to *[]netip.Prefix }{{&o.Allow, &g.opts.Allow}, {&o.Deny, &g.opts.Deny}} {
		for _, network := range *list.from {
			*list.to = append(*list.to, unmapped(network.Masked()))
		}
	}
	return g, nil
}

// ParseNetworks reads networks, as 10.0.0.0/8, and addresses, each a network of one. It
// refuses 10.0.0.1/8: is one address meant, or 16 million?
func ParseNetworks(texts []string) ([]netip.Prefix, error) {
	var networks []netip.Prefix
	for _, text := range texts {
		network, err := netip.ParsePrefix(text)
		if addr, errAddr := netip.ParseAddr(text); errAddr == nil && addr.Zone() == "" {
			network, err = addr.Prefix(addr.BitLen())
		}
		if err != nil {
			return nil, fmt.Errorf("%q is no network such as 10.0.0.0/8, and no address", text)
		}
		if network != network.Masked() {
			return nil, fmt.Errorf("%s has bits beyond its length: %s is the network, %s the address", text, network.Masked(), network.Addr())
		}
		networks = append(networks, network)
	}
	return networks, nil
}

// unmapped is the IPv4 network that an IPv4-mapped one stands for.
func unmapped(network netip.Prefix) netip.Prefix {
	if network.Addr().Is4In6() && network.Bits() >= 96 {
		return netip.PrefixFrom(network.Addr().Unmap(), network.Bits()-96)
	}
	return network
}

// String tells the rules; guards with the same rules have the same.
func (g *Guard) String() string {
	if g == nil {
		return string(Any)
	}
	var b strings.Builder
	b.WriteString(string(g.opts.Mode))
	for _, list := range []struct {
		name     string
		networks []netip.Prefix
	}{{"allow", g.opts.Allow}, {"deny", g.opts.Deny}} {
		for _, network := range list.networks {
			fmt.Fprintf(&b, " %s %s", list.name, network)
		}
	}
	return b.String()
}

// DeniedError is an address that must not be reached from here.
type DeniedError struct {
	Addr netip.Addr
	// Rule is what denies it.
	Rule string
	// Explicit says that it was an operator's Deny.
	Explicit bool
}

func (e *DeniedError) Error() string {
	text := fmt.Sprintf("egress to %s is denied: %s", e.Addr, e.Rule)
	if e.Explicit {
		return text
	}
	return fmt.Sprintf("%s; a worker with --allow-net %s or --egress any would allow it", text, e.Addr.WithZone(""))
}

// Check is a *DeniedError for an address that must not be reached.
func (g *Guard) Check(addr netip.Addr) error {
	if g == nil {
		return nil
	}
	plain := addr.Unmap().WithZone("") // a zone would make every network miss
	for _, reached := range append(embedded(plain), plain) {
		if network, ok := within(g.opts.Deny, reached); ok {
			return &DeniedError{Addr: addr, Rule: fmt.Sprintf("--deny-net %s", network), Explicit: true}
		}
	}
	if _, ok := within(g.opts.Allow, plain); ok || g.opts.Mode == Any {
		return nil
	}
	if g.opts.Mode == None {
		return &DeniedError{Addr: addr, Rule: "--egress none, and no --allow-net has it"}
	}
	if rule := special(plain); rule != "" {
		return &DeniedError{Addr: addr, Rule: rule}
	}
	return nil
}

// Control is a net.Dialer's ControlContext: it is called with each address that is about
// to be connected to.
func (g *Guard) Control(_ context.Context, network, address string, _ syscall.RawConn) error {
	if g == nil {
		return nil
	}
	target, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("egress by %s is denied: %q is no IP address", network, address)
	}
	return g.Check(target.Addr())
}

func within(networks []netip.Prefix, addr netip.Addr) (netip.Prefix, bool) {
	i := slices.IndexFunc(networks, func(n netip.Prefix) bool { return n.Contains(addr) })
	if i < 0 {
		return netip.Prefix{}, false
	}
	return networks[i], true
}
