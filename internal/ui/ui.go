package ui

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"

	"github.com/hibiken/asynqmon"
	"github.com/redis/go-redis/v9"
)

// Options says what is shown, where, and to whom.
type Options struct {
	// Redis is the caller's client, shared with it. It must be a *redis.Client or
	// a *redis.ClusterClient: asynqmon shows its page about Redis for no other.
	Redis redis.UniversalClient

	// Addr is the address listened on. Its host is one that requests may name.
	Addr string

	// Hosts are further names under which the UI may be reached, such as that of
	// a reverse proxy; without port.
	Hosts []string

	// RootPath is where asynqmon lives: "/tasks", say. Empty means "/".
	RootPath string

	// ReadOnly refuses to pause queues and to delete, run or archive tasks. weir
	// keeps accounts that asynqmon knows nothing of: a task deleted there is one
	// that the batch's status shows as missing.
	ReadOnly bool
}

// A body is a list of task IDs at most.
const maxBody = 1 << 20

// Handler returns the UI and a func to call when it is no longer served: that
// waits for the requests in progress, after which Redis may be closed.
// The errors to expect are those of Options.
func Handler(opt Options) (http.Handler, func() error, error) {
	root := strings.TrimSuffix(opt.RootPath, "/")
	if root != "" && !strings.HasPrefix(root, "/") {
		return nil, nil, fmt.Errorf("ui: root path %q does not begin with /", opt.RootPath)
	}
	if strings.ContainsAny(root, "{}?#") {
		return nil, nil, fmt.Errorf("ui: root path %q has one of {}?#", opt.RootPath)
	}
	switch opt.Redis.(type) {
	case *redis.Client, *redis.ClusterClient:
	case nil:
		return nil, nil, errors.New("ui: no Redis client")
	default:
		return nil, nil, fmt.Errorf("ui: asynqmon cannot use a %T", opt.Redis)
	}

	// Its Close is never called: all that does is close the client.
	mon := asynqmon.New(asynqmon.Options{
		RootPath:         root,
		RedisConnOpt:     shared{opt.Redis},
		PayloadFormatter: asynqmon.PayloadFormatterFunc(show),
		ResultFormatter:  asynqmon.ResultFormatterFunc(show),
		ReadOnly:         opt.ReadOnly,
	})
	policy, err := contentPolicy(mon, root+"/")
	if err != nil {
		return nil, nil, err
	}

	door := &door{next: typed(mon, root)}
	mux := http.NewServeMux()
	mux.Handle(root+"/", door)
	if root != "" {
		mux.Handle("/{$}", http.RedirectHandler(root+"/", http.StatusFound))
	}

	var h http.Handler = mux
	h = http.MaxBytesHandler(h, maxBody)
	h = http.NewCrossOriginProtection().Handler(h)
	h = allowHosts(h, append([]string{hostOf(opt.Addr)}, opt.Hosts...))
	h = healthz(h) // before the hosts: who probes may use any name, and learns nothing
	h = secureHeaders(h, policy)
	return h, door.close, nil
}

func healthz(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/healthz" {
			next.ServeHTTP(w, r)
			return
		}
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("Cache-Control", "no-store")
		_, _ = io.WriteString(w, "ok\n") // the client has gone: nothing to tell it
	})
}

// shared is an asynq.RedisConnOpt that makes no client but gives the one there is.
type shared struct{ client redis.UniversalClient }

func (s shared) MakeRedisClient() any { return s.client }

// door lets requests through until it is closed.
type door struct {
	next http.Handler

	mu     sync.RWMutex // held for reading by each request
	closed bool
}

func (d *door) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if d.closed {
		http.Error(w, "the UI is shutting down", http.StatusServiceUnavailable)
		return
	}
	d.next.ServeHTTP(w, r)
}

// close may be called more than once.
func (d *door) close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	return nil
}
