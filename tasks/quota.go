package tasks

import (
	"context"
	"time"
)

// Quota is what a service says of how much it will still answer.
type Quota struct {
	Remaining int           // calls
	Reset     time.Duration // until there are more
}

// ReportQuota tells the lane of the running task what its service says of its quota.
// Types whose policy is not Governed need not.
func ReportQuota(ctx context.Context, q Quota) {
	meansOf(ctx).quota.Store(&q)
}
