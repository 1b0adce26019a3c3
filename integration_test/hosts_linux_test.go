package integration_test

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/weir-tasks/weir/internal/batch"
	"github.com/weir-tasks/weir/internal/conn/conntest"
)

// A thousand hosts, of which the first is slow, in an input sorted by host: on Linux all of
// 127/8 is this machine.
func TestEachHostIsALaneAndASlowOneHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	const hosts, each = 1000, 2
	listener, err := net.Listen("tcp", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	release := make(chan struct{})
	service := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.Host, "127.1.0.1:") {
			<-release
		}
	}))
	service.Listener.Close()
	service.Listener = listener
	service.Start()
	defer service.Close()
	port := listener.Addr().(*net.TCPAddr).Port
	var urls strings.Builder
	for host := range hosts {
		for i := range each {
			fmt.Fprintf(&urls, "http://127.1.%d.%d:%d/%d\n", host/250, host%250+1, port, i)
		}
	}
	server := conntest.Server(t)
	startWorker(t, server.URL(), "--concurrency", "20")
	p := startReading(t, urls.String(), server.URL(), "run", "http", "--batch", "b")
	ledger := batch.NewLedger(server.Client())
	eventually(t, time.Minute, func() bool {
		info, err := ledger.Info(t.Context(), "b")
		return err == nil && info.OK == (hosts-1)*each
	}, "all other hosts are done")
	close(release)
	r := p.wait().exits(t, 0)
	if got := len(outcomes(t, r.stdout)); got != hosts*each {
		t.Errorf("%d outcomes", got)
	}
	if lanes, err := ledger.Lanes(t.Context(), "b"); len(lanes) != hosts || err != nil {
		t.Errorf("%d lanes, %v", len(lanes), err)
	}
}
