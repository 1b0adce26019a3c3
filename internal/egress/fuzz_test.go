package egress

import (
	"net"
	"net/netip"
	"testing"
)

// What the guard lets through, net's own classification has outside of this host and its
// networks; and the spelling of an address changes nothing.
func FuzzControl(f *testing.F) {
	for _, a := range []string{"", ":", "93.184.216.34:22", "93.184.216.34:80", "127.0.0.1:1", "[::1]:1", "[::ffff:10.0.0.1]:80", "[64:ff9b::a9fe:a9fe]:80", "[fe80::1%eth0]:80",
		"[2002:7f00:1::]:80", "[2001:0:7f00:1::]:80", "0.0.0.0:80", "0177.0.0.1:80", "2130706433:80", "localhost:80", "169.254.169.254:80", "[2606:4700::1]:443"} {
		f.Add(a)
	}
	g, err := New(Options{Mode: Public})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, address string) {
		if g.Control(t.Context(), "tcp", address, nil) != nil {
			return
		}
		at, err := netip.ParseAddrPort(address)
		if err != nil {
			t.Fatalf("%q is no address, and is let through", address)
		}
		ip := net.IP(at.Addr().Unmap().AsSlice())
		if !ip.IsGlobalUnicast() || ip.IsPrivate() || ip.IsLoopback() || ip.IsLinkLocalUnicast() {
			t.Errorf("%q is let through", address)
		}
		if at.Port() != 80 && at.Port() != 443 {
			t.Errorf("%q is let through, by its port", address)
		}
		if at.Addr().Is4() && g.Check(netip.AddrFrom16(at.Addr().As16())) != nil {
			t.Errorf("%q is let through, but not mapped into IPv6", address)
		}
	})
}

// Networks are read as they are written, or not at all.
func FuzzParseNetworks(f *testing.F) {
	for _, n := range []string{"", "10.0.0.0/8", "10.0.0.1/8", "::/0", "::ffff:10.0.0.0/104", "fe80::1%eth0", "1.2.3.4", "1.2.3.4/33", "/8"} {
		f.Add(n)
	}
	f.Fuzz(func(t *testing.T, text string) {
		networks, err := ParseNetworks([]string{text})
		if err != nil {
			return
		}
		again, err := ParseNetworks([]string{networks[0].String()})
		if err != nil || len(networks) != 1 || again[0] != networks[0] {
			t.Errorf("%q: %v, and again %v, %v", text, networks, again, err)
		}
		g, err := New(Options{Mode: Any, Deny: networks})
		if err != nil || g.Check(networks[0].Addr()) == nil {
			t.Errorf("%q: its first address is not denied: %v", text, err)
		}
	})
}
