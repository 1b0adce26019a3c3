package ui

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"

	"github.com/hibiken/asynqmon"
	"github.com/redis/go-redis/v9"
	"github.com/weir-tasks/weir/internal/batch"
)

// Options says what is shown, where, and to whom.
type Options struct {
	// Weir is what is shown: the caller's client, shared with it. Its Redis must be a
	// *redis.Client or a *redis.ClusterClient: asynqmon shows its page about Redis for no
	// other.
	Weir Weir

	// Addr is the address listened on. Its host is one that requests may name.
	Addr string

	// Hosts are further names under which the UI may be reached, such as that of
	// a reverse proxy; without port.
	Hosts []string

	// Logins are who may use the UI; nil means anybody who reaches it.
	Logins *Logins

	// Actions lets pages cancel, pause, resume and retry batches and set what lanes may do.
	Actions bool

	// Retry begins a batch of another one's failures; without it there is no such action.
	Retry RetryFunc

	// Writable lets asynqmon pause queues and delete, run and archive tasks. weir
	// keeps accounts that asynqmon knows nothing of: a task deleted there is one
	// that the batch's status shows as missing.
	Writable bool
}

// RetryFunc begins a batch of those failures of another one that are of a class and have a
// text in their error, "" being any. feed enqueues them; it returns when all are.
type RetryFunc func(ctx context.Context, of string, class batch.Class, match string) (name string, feed func(context.Context) error, err error)

// A body is a list of task IDs at most.
const maxBody = 1 << 20

// asynqRoot is where asynqmon lives.
const asynqRoot = "/asynq"

// ourPolicy is the content policy of our own pages: nothing but what is served here.
const ourPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// Handler returns the UI and a func to call when it is no longer served: that
// waits for the requests in progress, after which Redis may be closed.
// The errors to expect are those of Options.
func Handler(opt Options) (http.Handler, func() error, error) {
	if opt.Weir == nil || opt.Weir.Redis() == nil {
		return nil, nil, errors.New("ui: no Redis client")
	}
	switch rdb := opt.Weir.Redis().(type) {
	case *redis.Client, *redis.ClusterClient:
	default:
		return nil, nil, fmt.Errorf("ui: asynqmon cannot use a %T", rdb)
	}
	own, closeOwn := forAsynqmon(opt.Weir.Redis())
	// Its Close is never called: all that does is close the client.
	mon := asynqmon.New(asynqmon.Options{
		RootPath:         asynqRoot,
		RedisConnOpt:     given{own},
		PayloadFormatter: asynqmon.PayloadFormatterFunc(show),
		ResultFormatter:  asynqmon.ResultFormatterFunc(show),
		ReadOnly:         !opt.Writable,
	})
	policy, err := contentPolicy(mon, asynqRoot+"/")
	if err != nil {
		return nil, nil, errors.Join(err, closeOwn())
	}
	board := newBoard(opt.Weir)
	mux := http.NewServeMux()
	mux.Handle(asynqRoot+"/", secureHeaders(typed(boundedPages(mon), asynqRoot), policy))
	mux.Handle("/api/", board.api(&opt))
	mux.Handle("/", pages())

	door := &door{next: mux}
	var h http.Handler = door
	h = http.MaxBytesHandler(h, maxBody)
	h = http.NewCrossOriginProtection().Handler(h)
	h = allowHosts(h, append([]string{hostOf(opt.Addr)}, opt.Hosts...))
	if opt.Logins != nil {
		h = opt.Logins.guard(h)
	}
	h = healthz(h) // before hosts and logins: who probes may use any name, and learns nothing
	h = secureHeaders(h, ourPolicy)
	return h, func() error {
		board.cancel() // ends the requests that would not end by themselves
		err := door.close()
		board.close()
		return errors.Join(err, closeOwn())
	}, nil
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

// given is an asynq.RedisConnOpt that makes no client but gives the one there is.
type given struct{ client redis.UniversalClient }

func (s given) MakeRedisClient() any { return s.client }

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
