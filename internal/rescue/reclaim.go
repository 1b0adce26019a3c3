package rescue

import (
	"context"
	"errors"
	"fmt"

	"github.com/weir-tasks/weir/internal/queue"
)

// Reclaim gives back at once what a worker had that is known to be dead, by the mark in
// its leases.
func (r *Rescuer) Reclaim(ctx context.Context, mark queue.Mark) error {
	if err := r.pulse.bury(ctx, mark); err != nil {
		return err
	}
	lanes, err := r.rdb.SMembers(ctx, queue.All).Result()
	if err != nil {
		return fmt.Errorf("list lanes: %w", err)
	}
	var errs []error
	for _, lane := range lanes {
		leases, err := queue.Leases(ctx, r.rdb, lane)
		errs = append(errs, err)
		dead := make(map[string]string)
		for id, lease := range leases {
			if queue.MarkOf(lease) == mark {
				dead[id] = lease
			}
		}
		errs = append(errs, r.bury(ctx, lane, dead))
	}
	return errors.Join(errs...)
}
