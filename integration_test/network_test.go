package integration_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"

	"github.com/weir-tasks/weir/internal/conn/conntest"
)

// network is the way from one process to Redis, which can be made bad.
//
// toxiproxy waits for ever to change a connection whose reader does not read, such
// as a frozen process. So nothing here waits long for it, and a network that is good
// again is a new one at the same address.
type network struct {
	t      testing.TB
	addr   string // Redis
	listen string
	proxy  *toxiproxy.Proxy
	toxics int // so far
}

// networkTo makes a good network to an address.
func networkTo(t testing.TB, addr string) *network {
	t.Helper()
	n := &network{t: t, addr: addr, listen: fmt.Sprintf("127.0.0.1:%d", conntest.FreePort(t))}
	must(t, n.open())
	t.Cleanup(n.cut)
	return n
}

func (n *network) open() error {
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())
	n.proxy = toxiproxy.NewProxy(server, n.addr, n.listen, n.addr)
	return n.proxy.Start()
}

// patience is how long toxiproxy is waited for.
const patience = time.Second

func briefly(do func()) {
	done := make(chan struct{})
	go func() { defer close(done); do() }()
	select {
	case <-done:
	case <-time.After(patience):
	}
}

// url is what the process is given as --redis.
func (n *network) url() string { return "redis://" + n.listen }

// cut resets all connections and refuses new ones, until mend.
func (n *network) cut() { briefly(n.proxy.Stop) }

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
	proxy := n.proxy
	briefly(func() {
		if _, err := proxy.Toxics.AddToxicJson(strings.NewReader(toxic)); err != nil {
			n.t.Errorf("%s: %v", toxic, err)
		}
	})
}

// mend makes it good again; what hung in it is cut.
func (n *network) mend() {
	n.t.Helper()
	n.cut()
	eventually(n.t, 10*time.Second, func() bool { return n.open() == nil }, "the network is good again")
}
