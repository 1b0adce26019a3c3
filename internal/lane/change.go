package lane

import (
	"context"
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"
	"github.com/weir-tasks/weir/internal/lane/governor"
)

// Change is what an operator changes of a lane; nil fields stay as they are, 0 takes a
// setting away.
type Change struct {
	Rate                   *float64
	Burst, Max, Min, Limit *int
	Weight, Shards         *int
	Pause, Resume          bool
	Reset                  bool // forget what was learned of the service
}

// RefusedError says that a lane cannot be as a Change wants it. Nothing was changed.
type RefusedError struct {
	Lane string
	Err  error
}

func (e *RefusedError) Error() string { return fmt.Sprintf("lane %q: %v", e.Lane, e.Err) }
func (e *RefusedError) Unwrap() error { return e.Err }

// Apply changes a lane, in all workers within a second. It may return a *RefusedError.
func (c *Change) Apply(ctx context.Context, rdb redis.UniversalClient, name string) error {
	settings := []struct {
		of     setting
		wanted *int
	}{{weight, c.Weight}, {shards, c.Shards}}
	for _, s := range settings {
		if s.wanted == nil {
			continue
		}
		if err := s.of.valid(*s.wanted); err != nil {
			return &RefusedError{name, err}
		}
	}
	before, err := governor.LoadConfig(ctx, rdb, name)
	broken := errors.Is(err, governor.ErrConfig)
	if broken && *c == (Change{Reset: true}) {
		return governor.Reset(ctx, rdb, name)
	}
	if err != nil && !broken {
		return err
	}
	conf := c.of(before)
	if err := conf.Validate(); err != nil {
		return &RefusedError{name, err}
	}
	if err := replace(ctx, rdb, name, before, conf, broken); err != nil {
		return err
	}
	for _, s := range settings {
		if s.wanted == nil {
			continue
		}
		if err := s.of.set(ctx, rdb, name, *s.wanted); err != nil {
			return err
		}
	}
	if c.Reset {
		return governor.Reset(ctx, rdb, name)
	}
	return nil
}

// replace writes a configuration where it is not what was there.
func replace(ctx context.Context, rdb redis.UniversalClient, name string, before, now governor.Config, broken bool) error {
	switch {
	case now == before && !broken:
		return nil
	case now == (governor.Config{}):
		return governor.Unconfigure(ctx, rdb, name)
	}
	return governor.Configure(ctx, rdb, name, now)
}

// of is a configuration with the change.
func (c *Change) of(conf governor.Config) governor.Config {
	for _, f := range []struct{ wanted, field *int }{
		{c.Burst, &conf.Burst}, {c.Max, &conf.Max}, {c.Min, &conf.Min}, {c.Limit, &conf.Limit},
	} {
		if f.wanted != nil {
			*f.field = *f.wanted
		}
	}
	if c.Rate != nil {
		conf.Rate = *c.Rate
	}
	if conf.Rate == 0 && c.Burst == nil {
		conf.Burst = 0
	}
	conf.Paused = (conf.Paused || c.Pause) && !c.Resume
	return conf
}
