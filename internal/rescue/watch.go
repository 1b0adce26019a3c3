package rescue

import (
	"context"
	_ "embed"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

var (
	//go:embed lua/watch.lua
	watchSrc    string
	watchScript = redis.NewScript(watchSrc)
)

// watchHeld is how long a rescuer keeps its place without a look.
const watchHeld = 3 * time.Second

// acts says that of all rescuers of a lane this is the one that acts.
func (r *Rescuer) acts(ctx context.Context, lane string) (bool, error) {
	acts, err := watchScript.Run(ctx, r.rdb, []string{"weir:{" + lane + "}:rescuer"}, r.id, watchHeld.Milliseconds()).Bool()
	if err != nil {
		return false, fmt.Errorf("watch lane %q: %w", lane, err)
	}
	return acts, nil
}
