package tasks

import (
	"context"
	"sync/atomic"
	"time"
)

// Quota is what a service says of how much it will still answer.
type Quota struct {
	Remaining int           // calls
	Reset     time.Duration // until there are more
}

type quotaKey struct{}

// WithQuota returns a context from which a handler can report its service's quota, and
// what it has reported last, or nil; the worker calls it for each attempt.
func WithQuota(ctx context.Context) (context.Context, func() *Quota) {
	told := new(atomic.Pointer[Quota])
	return context.WithValue(ctx, quotaKey{}, told), told.Load
}

// ReportQuota tells the lane of the running task what its service says of its quota.
// Types whose policy is not Governed need not.
func ReportQuota(ctx context.Context, q Quota) {
	if told, ok := ctx.Value(quotaKey{}).(*atomic.Pointer[Quota]); ok {
		told.Store(&q)
	}
}
