package tasks

import (
	"context"
	"sync/atomic"

	"github.com/weir-tasks/weir/internal/egress"
	"github.com/weir-tasks/weir/internal/secret"
)

// Means are what a worker gives the handler of one attempt, by its context. Outside of a
// worker there are none: then any address may be reached, no permit is waited for, and no
// reference stands for anything.
type Means struct {
	Acquire AcquireFunc   // takes permits of lanes
	Egress  *egress.Guard // says what http and ping tasks may reach; nil is anything
	Secrets *secret.Store // what references in payloads stand for; nil is nothing
	// MaxResult caps results of all types, in bytes; 0 leaves each its Policy.MaxResult.
	MaxResult int
	// MaxRedirects caps those that one http request follows; 0 is 3.
	MaxRedirects int

	quota atomic.Pointer[Quota]
}

type meansKey struct{}

// WithMeans returns ctx carrying means; the worker calls it for each attempt.
func WithMeans(ctx context.Context, means *Means) context.Context {
	return context.WithValue(ctx, meansKey{}, means)
}

func meansOf(ctx context.Context) *Means {
	if means, ok := ctx.Value(meansKey{}).(*Means); ok {
		return means
	}
	return new(Means)
}

// Quota is what the handler has reported last of its service's quota, or nil.
func (m *Means) Quota() *Quota { return m.quota.Load() }
