package work

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// clockLook is how often the host's clock is compared with Redis'.
	clockLook = 30 * time.Second
	// ClockWarn is from which offset on it is told, ClockStop from which on this worker
	// takes no tasks: it would run retries early or late by as much, and asynq's other
	// users would take its leases for over.
	ClockWarn = 2 * time.Second
	ClockStop = 10 * time.Second
	// clockBlur is the longest round trip of a comparison that counts.
	clockBlur = time.Second
)

// clock compares this host's clock with Redis', and holds the gate while they differ
// too much. While Redis does not answer the last answer holds.
type clock struct {
	rdb  redis.UniversalClient
	now  func() time.Time
	hold func() (letGo func())
	log  *slog.Logger

	offset atomic.Int64 // of this host's clock, in ns; as last seen
	told   time.Duration
	letGo  func()
}

// run compares until ctx ends.
func (c *clock) run(ctx context.Context) {
	tick := time.NewTicker(clockLook)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			c.look(ctx)
		}
	}
}

// look compares once.
func (c *clock) look(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, clockBlur)
	defer cancel()
	began, before := time.Now(), c.now()
	theirs, err := c.rdb.Time(ctx).Result()
	took := time.Since(began)
	if err != nil || took > clockBlur {
		return
	}
	offset := before.Add(took / 2).Sub(theirs)
	c.offset.Store(int64(offset))
	c.judge(offset.Abs(), offset)
}

func (c *clock) judge(off, offset time.Duration) {
	was := c.told
	c.told = 0
	switch {
	case off > ClockStop:
		c.told = ClockStop
		if c.letGo == nil {
			c.letGo = c.hold()
			c.log.Error("this host's clock differs too much from Redis'; no tasks are taken until it is right",
				"offset", offset.Round(time.Millisecond), "limit", ClockStop, "hint", "is the time set by NTP on both hosts?")
		}
		return
	case off > ClockWarn:
		c.told = ClockWarn
		if was != ClockWarn {
			c.log.Warn("this host's clock differs from Redis'; retries come early or late by as much",
				"offset", offset.Round(time.Millisecond), "limit", ClockStop)
		}
	case was != 0:
		c.log.Info("this host's clock agrees with Redis' again", "offset", offset.Round(time.Millisecond))
	}
	if c.letGo != nil {
		c.letGo()
		c.letGo = nil
	}
}
