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

// watchHeld is how long a watcher keeps its place without a look.
const watchHeld = 3 * time.Second

// rank is a rescuer's place at a lane.
type rank int

// Of all rescuers of a lane one acts. Another watches with it, so that no patience
// begins anew when the first dies with its worker. The rest only ask for a place.
const (
	bystander rank = iota
	acts
	takesOver
)

// rank asks for this rescuer's place at a lane.
func (r *Rescuer) rank(ctx context.Context, lane string) (rank, error) {
	keys := []string{"weir:{" + lane + "}:rescuer", "weir:{" + lane + "}:rescuer2"}
	n, err := watchScript.Run(ctx, r.rdb, keys, r.id, watchHeld.Milliseconds()).Int()
	if err != nil {
		return bystander, fmt.Errorf("watch lane %q: %w", lane, err)
	}
	return rank(n), nil
}
