package tasks

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

var loopback = netip.MustParseAddr("127.0.0.1")

// listening returns the port of a listener, and one that is free.
func listening(t *testing.T) (open, closed int) {
	t.Helper()
	for _, port := range []*int{&open, &closed} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		*port = l.Addr().(*net.TCPAddr).Port
		if port == &closed {
			l.Close()
		} else {
			t.Cleanup(func() { l.Close() })
		}
	}
	return open, closed
}

func TestPingTCP(t *testing.T) {
	open, closed := listening(t)
	for _, port := range []int{open, closed} { // a refusal is an answer
		got, err := run(t, t.Context(), Ping, fmt.Sprintf(`{"host":"127.0.0.1","method":"tcp","port":%d,"interval":0.001,"count":5}`, port))
		if err != nil {
			t.Fatal(err)
		}
		if got.Sent != 5 || got.Received != 5 || got.Loss != 0 || got.Addr != "127.0.0.1" || got.Method != "tcp" || got.Reason != "" {
			t.Errorf("got %+v", got)
		}
		if got.MinMS <= 0 || got.MinMS > got.AvgMS || got.AvgMS > got.MaxMS {
			t.Errorf("got %+v", got)
		}
	}
}

func TestPingICMP(t *testing.T) {
	for _, host := range []string{"127.0.0.1", "localhost"} {
		got, err := run(t, t.Context(), Ping, `{"host":"`+host+`","method":"icmp","interval":0.001}`)
		if errors.Is(err, errNotPermitted) {
			if !IsPermanent(err) || !strings.Contains(err.Error(), `"method":"tcp"`) {
				t.Errorf("got %v", err)
			}
			t.Skip(err)
		}
		if err != nil || got.Sent != 3 || got.Received != 3 || got.Loss != 0 || got.Method != "icmp" || got.MaxMS <= 0 {
			t.Errorf("got %+v, %v", got, err)
		}
	}
}

func TestPingUnresolvable(t *testing.T) {
	got, err := run(t, t.Context(), Ping, `{"host":"host.invalid","timeout":1}`)
	if err != nil || got.Loss != 1 || got.Sent != 0 || got.Addr != "" || got.Reason == "" {
		t.Errorf("got %+v, %v", got, err)
	}
}

// fake is a pinger whose probes answer as told.
func fake(icmp, tcp probe) pinger {
	return pinger{
		resolve: func(context.Context, string) (netip.Addr, error) { return loopback, nil },
		icmp:    icmp, tcp: tcp,
	}
}

func answer(p probes, err error) probe {
	return func(context.Context, netip.Addr, PingPayload) (probes, error) { return p, err }
}

func TestPingMethods(t *testing.T) {
	one := answer(probes{sent: 1, rtts: []time.Duration{1}}, nil)
	denied, broken := answer(probes{}, errNotPermitted), answer(probes{}, syscall.EMFILE)
	for _, c := range []struct {
		method    string
		icmp, tcp probe
		want      string
		permanent bool
	}{
		{"auto", one, broken, "icmp", false},
		{"auto", denied, one, "tcp", false},
		{"auto", broken, one, "", false}, // our own trouble is no reason to measure something else
		{"auto", denied, broken, "", false},
		{"icmp", one, broken, "icmp", false},
		{"icmp", denied, one, "", true},
		{"tcp", broken, one, "tcp", false},
	} {
		got, err := fake(c.icmp, c.tcp).ping(t.Context(), PingPayload{Host: "h", Timeout: 1, Method: c.method})
		if (err == nil) != (c.want != "") || got.Method != c.want || IsPermanent(err) != c.permanent {
			t.Errorf("%s: got %+v, %v; want %s", c.method, got, err, c.want)
		}
	}
}

func TestPingCounts(t *testing.T) {
	ms := time.Millisecond
	for _, c := range []struct {
		got  probes
		want PingResult
	}{
		{probes{sent: 3}, PingResult{Sent: 3, Loss: 1, Reason: "no reply"}},
		{probes{sent: 1, reason: "no route to host"}, PingResult{Sent: 1, Loss: 1, Reason: "no route to host"}},
		{probes{sent: 4, rtts: []time.Duration{2 * ms}}, PingResult{Sent: 4, Received: 1, Loss: 0.75, MinMS: 2, AvgMS: 2, MaxMS: 2}},
		{probes{sent: 2, rtts: []time.Duration{ms, 3 * ms}}, PingResult{Sent: 2, Received: 2, MinMS: 1, AvgMS: 2, MaxMS: 3, StdDevMS: 1}},
	} {
		got, err := fake(answer(c.got, nil), nil).ping(t.Context(), PingPayload{Host: "h", Timeout: 1, Method: "icmp"})
		c.want.Host, c.want.Addr, c.want.Method = "h", "127.0.0.1", "icmp"
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("got %+v, %v; want %+v", got, err, c.want)
		}
	}
}

func TestPingResolverIsSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := fake(nil, nil)
		g.resolve = func(ctx context.Context, _ string) (netip.Addr, error) {
			<-ctx.Done()
			return netip.Addr{}, ctx.Err()
		}
		start := time.Now()
		got, err := g.ping(t.Context(), PingPayload{Host: "h", Timeout: 2})
		if err != nil || got.Loss != 1 || time.Since(start) != 2*time.Second {
			t.Errorf("got %+v, %v after %v", got, err, time.Since(start))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := g.ping(ctx, PingPayload{Host: "h", Timeout: 2}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
	})
}

func TestPingStopsAtTimeout(t *testing.T) {
	for _, method := range []string{"tcp", "icmp"} {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		_, err := run(t, ctx, Ping, `{"host":"127.0.0.1","count":2,"interval":60,"method":"`+method+`"}`)
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, errNotPermitted) {
			t.Errorf("%s: got %v", method, err)
		}
	}
}

// A dead host takes the time of its last packet, not of each one's timeout.
func TestPingSpan(t *testing.T) {
	p := PingPayload{Host: "h"}
	p.Defaults()
	if got := span(p); got != 2400*time.Millisecond {
		t.Errorf("got %v", got)
	}
}

func TestPingCause(t *testing.T) {
	for err, want := range map[error]string{
		&net.OpError{Op: "dial", Err: syscall.EHOSTUNREACH}:     syscall.EHOSTUNREACH.Error(),
		&net.OpError{Op: "dial", Err: context.DeadlineExceeded}: "",
		errors.New("odd"): "odd",
	} {
		if got := cause(err); got != want {
			t.Errorf("%v: got %q, want %q", err, got, want)
		}
	}
}

func TestPingPayloadRules(t *testing.T) {
	for _, c := range []struct{ payload, field, reason string }{
		{`{}`, "host", "is required"},
		{`{"host":"http://h/"}`, "host", "must be a host name"},
		{`{"host":"a b"}`, "host", "must be a host name"},
		{`{"host":"a\u0000"}`, "host", "must be a host name"},
		{`{"host":"` + strings.Repeat("a", 254) + `"}`, "host", "maximum of 253"},
		{`{"host":"h","count":0}`, "count", "must be 1 or greater"},
		{`{"host":"h","count":101}`, "count", "must be 100 or less"},
		{`{"host":"h","interval":0}`, "interval", "must be 0.001 or greater"},
		{`{"host":"h","timeout":-1}`, "timeout", "or greater"},
		{`{"host":"h","method":"udp"}`, "method", "must be one of [auto icmp tcp]"},
		{`{"host":"h","port":65536}`, "port", "must be 65,535 or less"},
	} {
		t.Run(c.payload[:min(40, len(c.payload))], func(t *testing.T) {
			wantInvalid(t, Ping.Type().Check([]byte(c.payload)), c.field, c.reason)
		})
	}
}
