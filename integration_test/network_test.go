package integration_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"
)

// network is the way from one process to Redis, which can be made bad.
type network struct {
	t      testing.TB
	proxy  *toxiproxy.Proxy
	toxics int // so far
}

// networkTo makes a good network to an address.
func networkTo(t testing.TB, addr string) *network {
	t.Helper()
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())
	n := &network{t: t, proxy: toxiproxy.NewProxy(server, t.Name(), "127.0.0.1:0", addr)}
	must(t, n.proxy.Start())
	t.Cleanup(n.proxy.Stop)
	return n
}

// url is what the process is given as --redis.
func (n *network) url() string { return "redis://" + n.proxy.Listen }

// cut resets all connections and refuses new ones, until mend.
func (n *network) cut() { n.proxy.Stop() }

// reset cuts all connections; new ones are welcome.
func (n *network) reset() {
	n.cut()
	n.mend()
}

// The directions of a network's toxics, as the process sees them.
const (
	requests = "upstream"
	replies  = "downstream"
)

// delay makes everything later by so many milliseconds, give or take a third.
func (n *network) delay(ms int) {
	n.poison("latency", replies, fmt.Sprintf(`{"latency":%d,"jitter":%d}`, ms, ms/3))
}

// swallow lets nothing through in a direction; connections stay and are accepted.
func (n *network) swallow(direction string) { n.poison("timeout", direction, `{"timeout":0}`) }

// throttle lets so many KB/s through.
func (n *network) throttle(direction string, rate int) {
	n.poison("bandwidth", direction, fmt.Sprintf(`{"rate":%d}`, rate))
}

func (n *network) poison(kind, direction, attributes string) {
	n.t.Helper()
	n.toxics++
	toxic := fmt.Sprintf(`{"name":"%d","type":%q,"stream":%q,"attributes":%s}`, n.toxics, kind, direction, attributes)
	if _, err := n.proxy.Toxics.AddToxicJson(strings.NewReader(toxic)); err != nil {
		n.t.Errorf("%s: %v", toxic, err)
	}
}

// mend makes it good again; what hung in it is cut.
func (n *network) mend() {
	n.t.Helper()
	n.proxy.Stop()
	n.proxy.Toxics.ResetToxics(context.Background())
	if err := n.proxy.Start(); err != nil {
		n.t.Errorf("mend the network: %v", err)
	}
}
