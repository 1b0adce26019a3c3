package tasks

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"syscall"
	"testing"

	"github.com/weir-tasks/weir/internal/egress"
)

var errWouldConnect = errors.New("this would be connected to")

// Whatever a URL is like, and whatever its name resolves to, what an http task under public
// would connect to is the internet, as net has it. Nothing is connected to.
func FuzzEgress(f *testing.F) {
	for _, s := range spellings {
		f.Add(s.url, uint32(0x7f000001))
	}
	f.Add("https://name.test/", uint32(0x08080808))
	for _, a := range []uint32{0, 0x08080808, 0x0a000001, 0x64400001, 0xa9fea9fe, 0xe0000001, 0xffffffff} {
		f.Add("https://name.test:8443/", a)
	}
	var resolved netip.Addr
	resolves(f, func(string) netip.Addr { return resolved })
	guard, err := egress.New(egress.Options{Mode: egress.Public})
	if err != nil {
		f.Fatal(err)
	}
	var reached []string
	dialer := net.Dialer{ControlContext: func(ctx context.Context, network, address string, c syscall.RawConn) error {
		if err := guard.Control(ctx, network, address, c); err != nil {
			return err
		}
		reached = append(reached, address)
		return errWouldConnect
	}}
	transport := newHTTPTransport(guard)
	transport.DialContext = dialer.DialContext
	httpTransports.Store(guard.String(), http.RoundTripper(transport))
	f.Cleanup(func() { httpTransports.Delete(guard.String()) })

	f.Fuzz(func(t *testing.T, url string, answer uint32) {
		resolved = netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, answer)))
		reached = nil
		payload, err := HTTP.Encode(HTTPPayload{Method: "GET", URL: url, Expect: []string{"200"}})
		if err != nil {
			return
		}
		if _, err := HTTP.Type().Run(WithMeans(t.Context(), &Means{Egress: guard}), payload); err == nil {
			t.Fatalf("%q has an answer", url)
		}
		for _, address := range reached {
			at, err := netip.ParseAddrPort(address)
			if err != nil {
				t.Fatalf("%q, which resolves to %v, leads to %q", url, resolved, address)
			}
			ip := net.IP(at.Addr().Unmap().AsSlice())
			if !ip.IsGlobalUnicast() || ip.IsPrivate() || netip.MustParsePrefix("100.64.0.0/10").Contains(at.Addr().Unmap()) || at.Addr().Unmap() == netip.MustParseAddr("168.63.129.16") {
				t.Errorf("%q, which resolves to %v, leads to %v", url, resolved, address)
			}
			if at.Port() != 80 && at.Port() != 443 {
				t.Errorf("%q leads to %v", url, address)
			}
		}
	})
}
