package rescue

import (
	"context"
	_ "embed"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/weir-tasks/weir/internal/queue"
)

var (
	//go:embed lua/beat.lua
	beatSrc    string
	beatScript = redis.NewScript(beatSrc)
)

// beats is when each worker last said that it lives (sorted set: mark -> ms).
const beats = "weir:{workers}:beats"

const (
	// Silence is for how long a worker may say nothing.
	Silence = 8 * time.Second

	// silent is how long what Redis said of the dead is acted upon: one may have come
	// back since.
	silent = 2 * time.Second

	// unwatched is the longest time without any beat that is no break in the watch. A
	// worker then had Silence less that, and less a beat, to come through to Redis.
	unwatched = 3 * time.Second

	// remembered is how long a dead worker is told from one that never beat.
	remembered = time.Hour
)

// pulse is this worker's, and what it knows of the others'. Their record, and since
// when somebody has been watching, are in Redis; so no death of a watcher delays any
// rescue, and no host's clock counts.
type pulse struct {
	rdb  redis.UniversalClient
	mark queue.Mark
	beat func(sent time.Time) // told of each that Redis has

	mu   sync.Mutex
	dead map[queue.Mark]bool
	as   time.Time // of when that is

	news chan struct{} // somebody died
}

func newPulse(rdb redis.UniversalClient, mark queue.Mark, beat func(time.Time)) *pulse {
	return &pulse{rdb: rdb, mark: mark, beat: beat, news: make(chan struct{}, 1)}
}

// run beats until ctx ends. After an error the next beat is soon enough.
func (p *pulse) run(ctx context.Context) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		_ = p.once(ctx)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (p *pulse) once(ctx context.Context) error {
	sent := time.Now()
	keys := []string{beats, "weir:{workers}:watch"}
	marks, err := beatScript.Run(ctx, p.rdb, keys, strconv.Itoa(int(p.mark)),
		Silence.Milliseconds(), unwatched.Milliseconds(), remembered.Milliseconds()).Uint64Slice()
	if err != nil {
		return fmt.Errorf("tell Redis that this worker lives: %w", err)
	}
	if p.beat != nil {
		p.beat(sent)
	}
	p.hear(marks, sent)
	return nil
}

// hear notes who was dead at a time.
func (p *pulse) hear(marks []uint64, at time.Time) {
	dead := make(map[queue.Mark]bool, len(marks))
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, m := range marks {
		dead[queue.Mark(m)] = true
		if !p.dead[queue.Mark(m)] {
			select {
			case p.news <- struct{}{}:
			default:
			}
		}
	}
	p.dead, p.as = dead, at
}

// gone are the marks of those that are dead, as far as is known by now.
func (p *pulse) gone(now time.Time) map[queue.Mark]bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now.Sub(p.as) > silent {
		return nil
	}
	return p.dead
}

// living are the marks of the workers that live. All time is Redis' own.
func (p *pulse) living(ctx context.Context) (map[queue.Mark]bool, error) {
	now, err := p.rdb.Time(ctx).Result()
	if err != nil {
		return nil, fmt.Errorf("ask Redis for the time: %w", err)
	}
	since := "(" + strconv.FormatInt(now.Add(-Silence).UnixMilli(), 10)
	marks, err := p.rdb.ZRangeByScore(ctx, beats, &redis.ZRangeBy{Min: since, Max: "+inf"}).Result()
	if err != nil {
		return nil, fmt.Errorf("ask which workers live: %w", err)
	}
	living := make(map[queue.Mark]bool, len(marks))
	for _, text := range marks {
		if m, err := strconv.ParseUint(text, 10, 32); err == nil {
			living[queue.Mark(m)] = true
		}
	}
	return living, nil
}

// bury notes that a worker is dead that may have said just now that it lives.
func (p *pulse) bury(ctx context.Context, mark queue.Mark) error {
	if err := p.rdb.ZRem(ctx, beats, strconv.Itoa(int(mark))).Err(); err != nil {
		return fmt.Errorf("note that a worker is dead: %w", err)
	}
	return nil
}
