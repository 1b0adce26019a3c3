package ui

import (
	"context"
	"math"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/weir-tasks/weir/internal/batch"
	"github.com/weir-tasks/weir/internal/conn"
	"github.com/weir-tasks/weir/internal/lane"
	"github.com/weir-tasks/weir/internal/status"
	"github.com/weir-tasks/weir/internal/work"
)

// Weir is what the UI shows and changes: a weir.Client, by the calls that the commands use.
type Weir interface {
	Redis() redis.UniversalClient
	Embedded() bool
	Status(ctx context.Context, name string) (*status.Status, error)
	Lanes(ctx context.Context) ([]*lane.Overview, error)
	Cancel(ctx context.Context, name string) error
	Pause(ctx context.Context, name string) error
	Resume(ctx context.Context, name string) error
}

// board is what the pages are made from: each part is read when somebody looks at it, and
// kept for all that do.
type board struct {
	weir   Weir
	ledger *batch.Ledger

	batches shared[[]*batchRow]
	lanes   shared[*laneRows]
	workers shared[[]*workerRow]
	redis   shared[*redisSeen]

	mu       sync.Mutex
	watched  map[string]*watched
	failures map[string]*failures

	retrying sync.Map // what is being enqueued

	ctx     context.Context // ends when the UI is closed
	cancel  context.CancelFunc
	working sync.WaitGroup
	reading chan struct{} // one that reads dead letters has a place in it
}

func newBoard(w Weir) *board {
	b := &board{
		weir: w, ledger: batch.NewLedger(w.Redis()),
		watched: make(map[string]*watched), failures: make(map[string]*failures), reading: make(chan struct{}, 2),
	}
	b.ctx, b.cancel = context.WithCancel(context.Background())
	rows := &batchRows{ledger: b.ledger, known: make(map[string]*batchRow)}
	b.batches.read = rows.read
	b.lanes.read = b.readLanes()
	b.workers.read = b.readWorkers()
	b.redis.read = b.readRedis()
	return b
}

// close ends what goes on in the background.
func (b *board) close() {
	b.cancel()
	b.working.Wait()
}

// laneRows are all lanes, by name, and their histories.
type laneRows struct {
	rows   []lane.Line
	tracks map[string]*track
}

func (b *board) readLanes() func(context.Context) (*laneRows, error) {
	tracks := make(map[string]*track)
	return func(ctx context.Context) (*laneRows, error) {
		all, err := b.weir.Lanes(ctx)
		if err != nil {
			return nil, err
		}
		cluster, err := work.Cluster(ctx, b.weir.Redis())
		if err != nil {
			return nil, err
		}
		// A new map each time: the last one is being read.
		seen := &laneRows{rows: make([]lane.Line, len(all)), tracks: make(map[string]*track, len(all))}
		now := time.Now()
		for i, o := range all {
			l := o.Line(cluster)
			limit, latency := math.NaN(), math.NaN()
			if l.Governed {
				limit = float64(l.Limit)
			}
			if l.BaseMS > 0 {
				latency = l.BaseMS * l.Ratio
			}
			seen.rows[i] = l
			seen.tracks[o.Name] = tracks[o.Name].with(sample{now, o.Ended, [5]float64{limit, float64(l.Active), float64(l.Pending), latency}}, trackMost)
		}
		tracks = seen.tracks
		return seen, nil
	}
}

// workerRow is a worker with what the UI knows of its tasks.
type workerRow struct {
	*work.Seen
	limits map[string]time.Duration // by batch: its attempts' timeout
}

// readWorkers remembers how long attempts of which batch may take: that does not change.
func (b *board) readWorkers() func(context.Context) ([]*workerRow, error) {
	var limits map[string]time.Duration
	return func(ctx context.Context) ([]*workerRow, error) {
		all, err := work.Look(ctx, b.weir.Redis())
		if err != nil {
			return nil, err
		}
		now := make(map[string]time.Duration)
		var unknown []string
		for _, w := range all {
			for _, t := range w.Tasks {
				name, _, ok := batch.ParseTaskID(t.ID)
				if _, seen := now[name]; !ok || seen {
					continue
				}
				limit, known := limits[name]
				if now[name] = limit; !known {
					unknown = append(unknown, name)
				}
			}
		}
		infos, err := b.ledger.Infos(ctx, unknown)
		if err != nil {
			return nil, err
		}
		for _, i := range infos {
			if i != nil && i.Unreadable == nil {
				now[i.Name] = i.Options.Timeout()
			}
		}
		limits = now
		rows := make([]*workerRow, len(all))
		for i, w := range all {
			rows[i] = &workerRow{w, now}
		}
		return rows, nil
	}
}

// redisSeen is Redis, and what is wrong with it.
type redisSeen struct {
	nodes    []conn.Node
	problems []conn.Problem
	track    *track
}

func (b *board) readRedis() func(context.Context) (*redisSeen, error) {
	var history *track
	return func(ctx context.Context) (*redisSeen, error) {
		nodes, err := conn.Describe(ctx, b.weir.Redis())
		if err != nil {
			return nil, err
		}
		seen := &redisSeen{nodes: nodes}
		if !b.weir.Embedded() {
			if seen.problems, err = conn.Check(ctx, b.weir.Redis()); err != nil {
				return nil, err
			}
		}
		var used, ops, clients float64
		for _, n := range nodes {
			used, ops, clients = used+float64(n.UsedMemory), ops+float64(n.OpsPerSec), clients+float64(n.Clients)
		}
		history = history.with(sample{at: time.Now(), values: [5]float64{used, ops, clients}}, trackMost)
		seen.track = history
		return seen, nil
	}
}
