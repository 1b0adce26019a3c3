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
//   - Public has few ports, or the internet would be one to search for open services.
//     What Allow has may be reached at any.
package egress

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
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
	// Ports are what Public has besides 80 and 443.
	Ports []uint16
}

// webPorts are those of http and https.
var webPorts = []uint16{80, 443}

// Guard judges addresses. It is immutable; a nil Guard allows any.
type Guard struct{ opts Options }

// New returns a Guard. It fails for an unknown mode.
func New(o Options) (*Guard, error) {
	if o.Mode != Public && o.Mode != Any && o.Mode != None {
		return nil, fmt.Errorf("egress %q: must be %s, %s or %s", o.Mode, Public, Any, None)
	}
	g := &Guard{Options{Mode: o.Mode, Ports: slices.Concat(webPorts, o.Ports)}}
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

// ParsePorts reads ports, from 1 to 65535.
func ParsePorts(texts []string) ([]uint16, error) {
	var ports []uint16
	for _, text := range texts {
		port, err := strconv.ParseUint(text, 10, 16)
		if err != nil || port == 0 {
			return nil, fmt.Errorf("%q is no port: they are from 1 to 65535", text)
		}
		ports = append(ports, uint16(port))
	}
	return ports, nil
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
	if g.opts.Mode == Public {
		fmt.Fprintf(&b, " ports %v", g.opts.Ports)
	}
	return b.String()
}

// DeniedError is an address that must not be reached from here, or not at a port.
type DeniedError struct {
	Addr netip.Addr
	// Port is what is denied of the address; 0 if all of it is.
	Port uint16
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
	if e.Port != 0 {
		return fmt.Sprintf("egress to %s is denied: %s; a worker with --allow-port %d, --allow-net %s or --egress any would allow it",
			netip.AddrPortFrom(e.Addr, e.Port), e.Rule, e.Port, e.Addr.WithZone(""))
	}
	return fmt.Sprintf("%s; a worker with --allow-net %s or --egress any would allow it", text, e.Addr.WithZone(""))
}

// Check is a *DeniedError for an address that must not be reached, at no port.
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
	if err := g.Check(target.Addr()); err != nil {
		return err
	}
	return g.checkPort(target)
}

// checkPort is a *DeniedError for a port that must not be reached, of an address that may.
func (g *Guard) checkPort(target netip.AddrPort) error {
	if g.opts.Mode != Public || slices.Contains(g.opts.Ports, target.Port()) {
		return nil
	}
	if _, named := within(g.opts.Allow, target.Addr().Unmap().WithZone("")); named {
		return nil
	}
	return &DeniedError{Addr: target.Addr(), Port: target.Port(), Rule: fmt.Sprintf("port %d is none of %v", target.Port(), g.opts.Ports)}
}

func within(networks []netip.Prefix, addr netip.Addr) (netip.Prefix, bool) {
	i := slices.IndexFunc(networks, func(n netip.Prefix) bool { return n.Contains(addr) })
	if i < 0 {
		return netip.Prefix{}, false
	}
	return networks[i], true
}
