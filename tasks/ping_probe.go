package tasks

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"time"

	probing "github.com/prometheus-community/pro-bing"
)

// icmpProbe sends echo requests: through a datagram socket, which needs no
// privilege where the system allows it, else through a raw one.
func icmpProbe(ctx context.Context, addr netip.Addr, p PingPayload) (probes, error) {
	for _, raw := range []bool{false, true} {
		got, err := icmpThrough(ctx, addr, p, raw)
		if err == nil || !notPermitted(err) {
			return got, err
		}
	}
	return probes{}, errNotPermitted
}

func icmpThrough(ctx context.Context, addr netip.Addr, p PingPayload, raw bool) (probes, error) {
	if err := reachable(addr); err != nil {
		return probes{sent: 1, reason: cause(err)}, nil
	}
	g := probing.New("")
	g.SetIPAddr(&net.IPAddr{IP: addr.AsSlice(), Zone: addr.Zone()})
	g.SetPrivileged(raw)
	g.SetLogger(probing.NoopLogger{})
	g.Count, g.Interval = p.Count, seconds(p.Interval)
	g.Timeout = span(p)
	open := false
	g.OnSetup = func() { open = true }

	err := g.RunWithContext(ctx)
	stats := g.Statistics()
	switch got := (probes{sent: stats.PacketsSent, rtts: stats.Rtts}); {
	case ctx.Err() != nil:
		return probes{}, ctx.Err()
	case err == nil:
		return got, nil
	case !open || ourFault(err) || errors.Is(err, syscall.EPERM): // EPERM: a firewall of ours
		return probes{}, err
	default: // as "network is unreachable": the packet was sent in vain
		got.sent, got.reason = max(got.sent, 1), cause(err)
		return got, nil
	}
}

// reachable asks the routing table. The library tries for ever, deaf to its
// context, to send where a route forbids it.
func reachable(addr netip.Addr) error {
	conn, err := net.Dial("udp", netip.AddrPortFrom(addr, 9).String()) // sends nothing
	if err != nil {
		if ourFault(err) {
			return nil // the library will meet and report it
		}
		return err
	}
	return conn.Close()
}

// tcpProbe opens connections. A refused one was answered by the host.
func tcpProbe(ctx context.Context, addr netip.Addr, p PingPayload) (probes, error) {
	var (
		mu     sync.Mutex
		wg     sync.WaitGroup
		got    probes
		failed error
	)
	target := netip.AddrPortFrom(addr, uint16(p.Port)).String()
	tick := time.NewTicker(seconds(p.Interval))
	defer tick.Stop()
	for got.sent < p.Count && ctx.Err() == nil {
		if got.sent > 0 {
			select {
			case <-tick.C:
			case <-ctx.Done():
				continue
			}
		}
		got.sent++
		// Each waits for itself, or a dead host would take count timeouts.
		wg.Go(func() {
			rtt, err := tcpOnce(ctx, target, seconds(p.Timeout))
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				got.rtts = append(got.rtts, rtt)
			case ourFault(err):
				failed = err
			default:
				got.reason = cause(err)
			}
		})
	}
	wg.Wait()
	if ctx.Err() != nil {
		return probes{}, ctx.Err()
	}
	return got, failed
}

func tcpOnce(ctx context.Context, target string, timeout time.Duration) (time.Duration, error) {
	dialer := net.Dialer{Timeout: timeout}
	start := time.Now()
	conn, err := dialer.DialContext(ctx, "tcp", target)
	rtt := time.Since(start)
	if errors.Is(err, syscall.ECONNREFUSED) {
		return rtt, nil
	}
	if err != nil {
		return 0, err
	}
	// Reset, not closed: a closed one would keep its port for a minute.
	_ = conn.(*net.TCPConn).SetLinger(0)
	return rtt, conn.Close()
}

// span is the time from the first packet to the last answer worth waiting for.
func span(p PingPayload) time.Duration {
	return seconds(float64(p.Count-1)*p.Interval + p.Timeout)
}

func notPermitted(err error) bool {
	return isAny(err, syscall.EACCES, syscall.EPERM, syscall.EPROTONOSUPPORT, syscall.EAFNOSUPPORT)
}

// ourFault reports an error of this machine's own: nothing is known about the
// host then, and another attempt may help.
func ourFault(err error) bool {
	return isAny(err, syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.EADDRNOTAVAIL)
}

func isAny(err error, these ...error) bool {
	return slices.ContainsFunc(these, func(e error) bool { return errors.Is(err, e) })
}

// cause is the system's own words for an error, "" for a mere timeout.
func cause(err error) string {
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		return ""
	}
	var number syscall.Errno
	if errors.As(err, &number) {
		return number.Error()
	}
	return shorten(err.Error(), 100)
}
