package tasks

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"strings"
	"time"
	"unicode"
)

// Ping asks a host whether it is there, a few times, and measures the round
// trips. A dead host is a result with loss 1, not an error. It takes at most
// (count-1)*interval + timeout, after as much for the name. The name is looked up once:
// the address that is judged is the one that all packets go to.
var Ping = Define("ping", Policy{}, func(ctx context.Context, p PingPayload) (PingResult, error) {
	return pinger{resolve: resolve, icmp: icmpProbe, tcp: tcpProbe}.ping(ctx, p)
})

// PingPayload says whom to ask and how.
type PingPayload struct {
	Host     string  `json:"host" weir:"line" validate:"required,max=253"`
	Count    int     `json:"count,omitzero" validate:"gte=1,lte=100"`
	Interval float64 `json:"interval,omitzero" validate:"gte=0.001,lte=60" doc:"seconds between packets"`
	Timeout  float64 `json:"timeout,omitzero" validate:"gte=0.001,lte=600" doc:"seconds to wait for the answer to a packet"`
	Method   string  `json:"method,omitzero" validate:"oneof=auto icmp tcp" doc:"auto: tcp where ICMP is not permitted"`
	Port     int     `json:"port,omitzero" validate:"gte=1,lte=65535" doc:"for tcp; that a connection is refused is an answer too"`
}

// PingResult is what came back.
type PingResult struct {
	Host     string  `json:"host"`
	Addr     string  `json:"addr" doc:"empty if the host has none"`
	Method   string  `json:"method" doc:"icmp or tcp; the one asked for if the host has no address"`
	Sent     int     `json:"sent"`
	Received int     `json:"received"`
	Loss     float64 `json:"loss" doc:"0 to 1"`
	MinMS    float64 `json:"min_ms"`
	AvgMS    float64 `json:"avg_ms"`
	MaxMS    float64 `json:"max_ms"`
	StdDevMS float64 `json:"stddev_ms"`
	Reason   string  `json:"reason,omitzero" doc:"why a dead host is thought dead"`
}

// Defaults fills in what a payload leaves out.
func (p *PingPayload) Defaults() {
	p.Count, p.Interval, p.Timeout = 3, 0.2, 2
	p.Method, p.Port = "auto", 80
}

// Validate refuses what is no host, before a resolver guesses at it.
func (p *PingPayload) Validate() error {
	odd := func(r rune) bool {
		return unicode.IsSpace(r) || unicode.IsControl(r) || strings.ContainsRune(`/\@[]`, r)
	}
	if strings.ContainsFunc(p.Host, odd) {
		return invalidf("host", "must be a host name or an IP address")
	}
	return nil
}

// errNotPermitted says that this process may not send ICMP.
var errNotPermitted = errors.New("ICMP is not permitted here")

// probes is what became of the packets sent.
type probes struct {
	sent   int
	rtts   []time.Duration // of those answered
	reason string          // the last reason one was lost; "" if it was only time
}

// probe sends the payload's packets. It fails for what is our own fault, not
// the host's; with errNotPermitted if it is not permitted to.
type probe func(ctx context.Context, addr netip.Addr, p PingPayload) (probes, error)

// pinger is what ping stands on, apart so that tests can take its place.
type pinger struct {
	resolve   func(ctx context.Context, host string) (netip.Addr, error)
	icmp, tcp probe
}

func (g pinger) ping(ctx context.Context, p PingPayload) (PingResult, error) {
	result := PingResult{Host: p.Host, Method: p.Method, Loss: 1}
	lookup, cancel := context.WithTimeout(ctx, seconds(p.Timeout))
	defer cancel()
	addr, err := g.resolve(lookup, p.Host)
	if ctx.Err() != nil {
		return PingResult{}, ctx.Err()
	}
	if err != nil {
		result.Reason = noAddress(err)
		return result, nil
	}
	if err := meansOf(ctx).Egress.Check(addr); err != nil {
		return PingResult{}, Rejected(fmt.Errorf("ping %s: %w", p.Host, err))
	}
	result.Addr = addr.String()

	var got probes
	switch result.Method {
	case "tcp":
		got, err = g.tcp(ctx, addr, p)
	case "icmp":
		got, err = g.icmp(ctx, addr, p)
	default:
		result.Method = "icmp"
		if got, err = g.icmp(ctx, addr, p); errors.Is(err, errNotPermitted) {
			result.Method = "tcp"
			got, err = g.tcp(ctx, addr, p)
		}
	}
	if errors.Is(err, errNotPermitted) {
		return PingResult{}, Permanent(fmt.Errorf(`%w: use "method":"tcp", or see net.ipv4.ping_group_range or CAP_NET_RAW`, err))
	}
	if err != nil {
		return PingResult{}, fmt.Errorf("ping %s: %w", p.Host, err)
	}
	result.count(got)
	return result, nil
}

// count fills in the numbers.
func (r *PingResult) count(got probes) {
	r.Sent, r.Received = got.sent, len(got.rtts)
	if r.Received == 0 {
		if r.Reason = got.reason; r.Reason == "" {
			r.Reason = "no reply"
		}
		return
	}
	r.Loss = float64(r.Sent-r.Received) / float64(r.Sent)
	low, high, sum, squares := math.Inf(1), 0.0, 0.0, 0.0
	for _, rtt := range got.rtts {
		ms := float64(rtt) / float64(time.Millisecond)
		low, high, sum = min(low, ms), max(high, ms), sum+ms
	}
	mean := sum / float64(r.Received)
	for _, rtt := range got.rtts {
		d := float64(rtt)/float64(time.Millisecond) - mean
		squares += d * d
	}
	round := func(ms float64) float64 { return math.Round(ms*1000) / 1000 }
	r.MinMS, r.AvgMS, r.MaxMS = round(low), round(mean), round(high)
	r.StdDevMS = round(math.Sqrt(squares / float64(r.Received)))
}

// resolve returns the host's best address.
func resolve(ctx context.Context, host string) (netip.Addr, error) {
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return netip.Addr{}, err
	}
	if len(addrs) == 0 {
		return netip.Addr{}, errors.New("no address")
	}
	return addrs[0].Unmap(), nil
}

// noAddress says why a name has no address, without the resolver's own.
func noAddress(err error) string {
	var dns *net.DNSError
	if errors.As(err, &dns) {
		return shorten(dns.Err, 100)
	}
	return shorten(err.Error(), 100)
}
