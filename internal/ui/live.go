package ui

import (
	"encoding/json"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"
)

const (
	// liveMost is how many pages may be told how things are at a time.
	liveMost = 256
	// writeIn is how long a browser may take to take an answer.
	writeIn = 10 * time.Second
)

// live tells pages once a second how things are, as server-sent events: "view" with what
// its view shows, or "trouble" with why that cannot be told. An event's id is when it was so.
type live struct {
	views   map[string]view
	closed  <-chan struct{}
	looking atomic.Int64
}

func (l *live) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q := query{r.URL.Query()}
	view := l.views[q.Get("view")]
	if view == nil {
		fail(w, badRequestError(fmt.Sprintf("no view %q", q.Get("view"))))
		return
	}
	if l.looking.Add(1) > liveMost {
		l.looking.Add(-1)
		http.Error(w, "too many pages are open", http.StatusServiceUnavailable)
		return
	}
	defer l.looking.Add(-1)
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Accel-Buffering", "no") // for proxies
	out := http.NewResponseController(w)
	_ = out.SetReadDeadline(time.Time{}) // the server's is for requests that end
	ticks := time.NewTicker(tick)
	defer ticks.Stop()
	for {
		event := "view"
		v, asOf, err := view(r.Context(), q)
		if err != nil {
			event, v = "trouble", failure{err.Error(), isMissing(err)}
		}
		data, err := json.Marshal(v)
		if err != nil {
			return
		}
		_ = out.SetWriteDeadline(time.Now().Add(writeIn))
		if _, err := fmt.Fprintf(w, "event: %s\nid: %d\ndata: %s\n\n", event, asOf.UnixMilli(), data); err != nil || out.Flush() != nil {
			return // it has gone
		}
		select {
		case <-r.Context().Done():
			return
		case <-l.closed:
			return
		case <-stopping(r):
			return
		case <-ticks.C:
		}
	}
}
