package egress

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
)

func guard(t *testing.T, mode Mode, allow, deny string) *Guard {
	t.Helper()
	o := Options{Mode: mode}
	var err error
	if o.Allow, err = ParseNetworks(strings.Fields(allow)); err != nil {
		t.Fatal(err)
	}
	if o.Deny, err = ParseNetworks(strings.Fields(deny)); err != nil {
		t.Fatal(err)
	}
	g, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// TestPublicIsTheInternet: the first and the last address of every network that is not,
// and their neighbours that are.
func TestPublicIsTheInternet(t *testing.T) {
	public := guard(t, Public, "", "")
	for addr, rule := range map[string]string{
		"0.0.0.0": "unspecified", "0.255.255.255": "unspecified", "1.0.0.0": "",
		"9.255.255.255": "", "10.0.0.0": "private", "10.255.255.255": "private", "11.0.0.0": "",
		"100.63.255.255": "", "100.64.0.0": "carrier-grade", "100.127.255.255": "carrier-grade", "100.128.0.0": "", "100.100.100.200": "metadata",
		"126.255.255.255": "", "127.0.0.1": "loopback", "127.255.255.255": "loopback", "128.0.0.0": "",
		"169.253.255.255": "", "169.254.0.0": "link-local", "169.254.169.254": "metadata", "169.254.255.255": "link-local", "169.255.0.0": "",
		"168.63.129.16": "metadata", "168.63.129.15": "", "168.63.129.17": "",
		"172.15.255.255": "", "172.16.0.0": "private", "172.31.255.255": "private", "172.32.0.0": "",
		"192.0.0.0": "protocol", "192.0.0.192": "metadata", "192.0.0.255": "protocol", "192.0.1.0": "",
		"192.0.2.0": "documentation", "192.0.2.255": "documentation", "192.0.3.0": "",
		"192.88.99.1": "6to4", "192.167.255.255": "", "192.168.0.0": "private", "192.168.255.255": "private", "192.169.0.0": "",
		"198.17.255.255": "", "198.18.0.0": "benchmarking", "198.19.255.255": "benchmarking", "198.20.0.0": "",
		"198.51.100.7": "documentation", "203.0.113.7": "documentation", "203.0.114.0": "",
		"223.255.255.255": "", "224.0.0.0": "multicast", "239.255.255.255": "multicast",
		"240.0.0.0": "reserved", "255.255.255.254": "reserved", "255.255.255.255": "broadcast",
		"8.8.8.8": "", "2001:4860:4860::8888": "", "2606:4700::1111": "", "2a00::1": "",

		"::": "unspecified", "::1": "loopback", "::2": "IPv4-compatible", "::127.0.0.1": "IPv4-compatible", "::8.8.8.8": "IPv4-compatible",
		"::ffff:127.0.0.1": "loopback", "::ffff:a9fe:a9fe": "metadata", "::ffff:10.1.2.3": "private", "::ffff:8.8.8.8": "",
		"::ffff:0:127.0.0.1":   "IPv4-translated",
		"64:ff9b::127.0.0.1":   "NAT64",
		"64:ff9b::8.8.8.8":     "NAT64",
		"64:ff9b::a9fe:a9fe":   "NAT64",
		"64:ff9b:1::127.0.0.1": "local NAT64", "64:ff9b:1:ffff::1": "local NAT64", "64:ff9b:2::1": "not global unicast",
		"100::1": "discard", "2001::1": "Teredo", "2001:0:7f00:1::": "Teredo", "2001:2::1": "protocol", "2001:20::1": "protocol", "2001:200::1": "",
		"2001:db8::1": "documentation", "2002:7f00:1::": "6to4", "2002:808:808::1": "6to4", "3fff::1": "documentation", "3fff:1000::1": "",
		"fc00::1": "private", "fdff::1": "private", "fd00:ec2::254": "metadata", "fd20:ce::254": "metadata",
		"fe80::1": "link-local", "fe80::1%eth0": "link-local", "fec0::1": "site-local", "ff02::1": "multicast", "ff02::1%lo": "multicast",
		"::1%lo": "loopback", "5f00::1": "not global unicast", "4000::1": "not global unicast", "1fff::1": "not global unicast",
	} {
		err := public.Check(netip.MustParseAddr(addr))
		var denied *DeniedError
		switch {
		case rule == "" && err != nil:
			t.Errorf("%s: %v", addr, err)
		case rule != "" && (!errors.As(err, &denied) || !strings.HasPrefix(denied.Rule, rule)):
			t.Errorf("%s: got %v, want %s", addr, err, rule)
		}
		if err := guard(t, Any, "", "").Check(netip.MustParseAddr(addr)); err != nil {
			t.Errorf("any: %s: %v", addr, err)
		}
		if err := (*Guard)(nil).Check(netip.MustParseAddr(addr)); err != nil {
			t.Errorf("no guard: %s: %v", addr, err)
		}
	}
}

func TestDenyGoesBeforeAllowAndAllowBeforeTheMode(t *testing.T) {
	for _, c := range []struct {
		mode        Mode
		allow, deny string
		addr        string
		allowed     bool
	}{
		{Public, "10.0.0.0/8", "", "10.1.2.3", true},
		{Public, "10.0.0.0/8", "", "::ffff:10.1.2.3", true},
		{Public, "::ffff:10.0.0.0/104", "", "10.1.2.3", true},
		{Public, "10.0.0.0/8", "", "192.168.0.1", false},
		{Public, "10.0.0.0/8", "", "64:ff9b::10.1.2.3", false}, // its own network is not allowed
		{Public, "64:ff9b::/96", "", "64:ff9b::10.1.2.3", true},
		{Public, "64:ff9b::/96", "10.0.0.0/8", "64:ff9b::10.1.2.3", false},
		{Public, "64:ff9b::/96", "10.0.0.0/8", "64:ff9b::8.8.8.8", true},
		{Public, "10.0.0.0/8", "10.0.0.0/24", "10.0.0.1", false},
		{Public, "10.0.0.0/24", "10.0.0.0/8", "10.0.0.1", false},
		{Public, "10.0.0.7", "", "10.0.0.7", true},
		{Public, "10.0.0.7", "", "10.0.0.8", false},
		{Public, "fe80::/10", "", "fe80::1%eth0", true},
		{Public, "0.0.0.0/0", "", "127.0.0.1", true},
		{Public, "0.0.0.0/0", "", "::1", false},
		{Any, "", "169.254.0.0/16", "169.254.169.254", false},
		{Any, "", "169.254.0.0/16", "::ffff:169.254.169.254", false},
		{Any, "", "169.254.0.0/16", "64:ff9b::169.254.169.254", false},
		{Any, "", "169.254.0.0/16", "64:ff9b:1:a9fe:a9:fe00::", false},   // RFC 6052 with /48
		{Any, "", "169.254.0.0/16", "64:ff9b:1:a9:fe:a9fe::", false},     // /56
		{Any, "", "169.254.0.0/16", "64:ff9b:1::a9:fea9:fe00:0", false},  // /64
		{Any, "", "169.254.0.0/16", "64:ff9b:1::169.254.169.254", false}, // /96
		{Any, "", "169.254.0.0/16", "2002:a9fe:a9fe::1", false},          // 6to4
		{Any, "", "169.254.0.0/16", "2001:0:a9fe:a9fe::", false},         // Teredo's server
		{Any, "", "169.254.0.0/16", "2001:0:102:304::5601:5601", false},  // its client, inverted
		{Any, "", "169.254.0.0/16", "::169.254.169.254", false},          // IPv4-compatible
		{Any, "", "169.254.0.0/16", "2002:808:808::1", true},
		{Any, "", "fe80::/10", "fe80::1%eth0", false},
		{Public, "", "8.8.8.0/24", "8.8.8.8", false},
		{Public, "8.8.8.8", "0.0.0.0/0", "8.8.8.8", false},
		{None, "", "", "8.8.8.8", false},
		{None, "", "", "2606:4700::1", false},
		{None, "8.8.8.0/24", "", "8.8.8.8", true},
		{None, "8.8.8.0/24", "", "::ffff:8.8.8.8", true},
		{None, "8.8.8.0/24", "", "8.8.4.4", false},
		{None, "8.8.8.0/24", "8.8.8.8", "8.8.8.8", false},
		{None, "8.8.8.0/24", "", "64:ff9b::8.8.8.8", false},
	} {
		err := guard(t, c.mode, c.allow, c.deny).Check(netip.MustParseAddr(c.addr))
		if (err == nil) != c.allowed {
			t.Errorf("%s, allow %q, deny %q, %s: got %v", c.mode, c.allow, c.deny, c.addr, err)
		}
	}
}

// TestTheErrorNamesAddressRuleAndFlag: whoever meets it knows what to do.
func TestTheErrorNamesAddressRuleAndFlag(t *testing.T) {
	for g, want := range map[*Guard]string{
		guard(t, Public, "", ""):       "egress to fe80::1%eth0 is denied: link-local (fe80::/10); a worker with --allow-net fe80::1 or --egress any would allow it",
		guard(t, Any, "", "fe80::/10"): "egress to fe80::1%eth0 is denied: --deny-net fe80::/10",
	} {
		if err := g.Check(netip.MustParseAddr("fe80::1%eth0")); err == nil || err.Error() != want {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	}
}

// TestPublicHasThePortsOfTheWeb: others are the operator's word, for all addresses or by
// naming one; and whoever meets the error knows which.
func TestPublicHasThePortsOfTheWeb(t *testing.T) {
	deny, err := ParseNetworks([]string{"8.8.4.4"})
	if err != nil {
		t.Fatal(err)
	}
	more, err := New(Options{Mode: Public, Ports: []uint16{8080, 8443}, Deny: deny})
	if err != nil {
		t.Fatal(err)
	}
	public, named := guard(t, Public, "", ""), guard(t, Public, "8.8.8.8 10.0.0.0/8 2606:4700::/32", "")
	for _, c := range []struct {
		guard   *Guard
		address string
		denied  string // "" if it may be reached
	}{
		{public, "8.8.8.8:80", ""},
		{public, "8.8.8.8:443", ""},
		{public, "[2606:4700::1]:443", ""},
		{public, "8.8.8.8:0", "egress to 8.8.8.8 is denied"},
		{public, "8.8.8.8:22", "egress to 8.8.8.8:22 is denied: port 22 is none of [80 443]; a worker with --allow-port 22, --allow-net 8.8.8.8 or --egress any would allow it"},
		{public, "8.8.8.8:65535", "port 65535"},
		{public, "8.8.8.8:8080", "--allow-port 8080"},
		{public, "[2606:4700::1]:6379", "egress to [2606:4700::1]:6379 is denied: port 6379"},
		{public, "[::ffff:8.8.8.8]:25", "port 25"},
		{public, "127.0.0.1:22", "127.0.0.1 is denied: loopback"},
		{more, "8.8.8.8:8080", ""},
		{more, "8.8.8.8:8443", ""},
		{more, "8.8.8.8:443", ""},
		{more, "8.8.8.8:8081", "port 8081 is none of [80 443 8080 8443]"},
		{more, "10.0.0.1:8080", "10.0.0.1 is denied: private"},
		{more, "8.8.4.4:8080", "--deny-net 8.8.4.4/32"},
		{named, "8.8.8.8:22", ""},
		{named, "[::ffff:8.8.8.8]:22", ""},
		{named, "10.1.2.3:6379", ""},
		{named, "[2606:4700::1]:22", ""},
		{named, "8.8.4.4:22", "port 22"},
		{guard(t, Any, "", ""), "8.8.8.8:22", ""},
		{guard(t, None, "8.8.8.8", ""), "8.8.8.8:22", ""},
		{guard(t, None, "", ""), "8.8.8.8:443", "--egress none"},
		{nil, "8.8.8.8:22", ""},
	} {
		err := c.guard.Control(t.Context(), "tcp", c.address, nil)
		if (err == nil) != (c.denied == "") || err != nil && !strings.Contains(err.Error(), c.denied) {
			t.Errorf("%v, %s: got %v, want %q", c.guard, c.address, err, c.denied)
		}
	}
	if public.String() == more.String() {
		t.Error("guards with other ports have the same rules: they would share connections")
	}
}

func TestPortsAreRefusedThatAreNone(t *testing.T) {
	for _, text := range []string{"", "0", "-1", "65536", "http", "80-90", "8080 ", "+80"} {
		if got, err := ParsePorts([]string{"443", text}); err == nil {
			t.Errorf("%q: got %v", text, got)
		}
	}
}

func TestControlTakesOnlyIPAddresses(t *testing.T) {
	public := guard(t, Public, "", "")
	for address, allowed := range map[string]bool{
		"8.8.8.8:80": true, "[2606:4700::1111]:443": true,
		"127.0.0.1:80": false, "[::1]:80": false, "[fe80::1%eth0]:80": false, "[::ffff:127.0.0.1]:80": false,
		"/var/run/docker.sock": false, "@abstract": false, "localhost:80": false, "": false, ":80": false,
	} {
		if err := public.Control(t.Context(), "tcp", address, nil); (err == nil) != allowed {
			t.Errorf("%q: got %v", address, err)
		}
	}
}

func TestNetworksAreRefusedThatMeanTwoThings(t *testing.T) {
	for _, text := range []string{"", "x", "10.0.0.1/8", "10.0.0.0/33", "10.0.0.0-10.0.0.9", "fe80::1%eth0", "example.com", "2001:db8::1/32"} {
		if got, err := ParseNetworks([]string{text}); err == nil {
			t.Errorf("%q: got %v", text, got)
		}
	}
	if _, err := New(Options{Mode: "private"}); err == nil {
		t.Error("an unknown mode is taken")
	}
}
