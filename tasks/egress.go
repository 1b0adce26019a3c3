package tasks

import (
	"context"

	"github.com/weir-tasks/weir/internal/egress"
)

type egressKey struct{}

// WithEgress returns ctx in which http and ping tasks reach only what guard allows; the
// worker calls it for each attempt.
func WithEgress(ctx context.Context, guard *egress.Guard) context.Context {
	return context.WithValue(ctx, egressKey{}, guard)
}

// egressOf returns the guard of a handler's context; without a worker it is nil, which
// allows any address.
func egressOf(ctx context.Context) *egress.Guard {
	guard, _ := ctx.Value(egressKey{}).(*egress.Guard)
	return guard
}
